"""What came of passes: counts by line, and whether the subject keeps the protocol."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pef_lab.rows.catalogue import in_order, line_of
from pef_lab.rows.row import Level, Played, Verdict
from pef_lab.rows.subject import Evidence, Subject

AGAINST: Final = frozenset({Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE})
"""Verdicts that no MUST row may have."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """A pass: its subject, its rows with their verdicts, and how long it took in seconds."""

    subject: Subject
    played: tuple[Played, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the summary. `passed` has, by subject, rows that passed and rows that were played.

    `verdicts` counts over all passes; `rows` are different rows, `skipped` those that no pass played.
    """

    name: str
    rows: int
    passed: dict[Subject, tuple[int, int]]
    verdicts: Counter[Verdict]
    skipped: int


def lines_of(passes: Sequence[PassReport]) -> list[Line]:
    """Return the lines of a summary."""
    return [_line(name, passes) for name in in_order(line_of(played.row) for played in every(passes))]


def total_of(passes: Sequence[PassReport]) -> Line:
    """Return the line that counts all."""
    return _line("", passes)


def _line(name: str, passes: Sequence[PassReport]) -> Line:
    """Return one line; the one without a name counts all."""
    mine = {
        each.subject: [played for played in each.played if not name or line_of(played.row) == name]
        for each in passes
    }
    everything = [played for each in mine.values() for played in each]
    passed = {
        subject: (
            sum(played.verdict is Verdict.PASS for played in rows),
            sum(played.verdict is not Verdict.SKIPPED for played in rows),
        )
        for subject, rows in mine.items()
    }
    names = {played.row.id for played in everything}
    done = {played.row.id for played in everything if played.verdict is not Verdict.SKIPPED}
    return Line(name, len(names), passed, Counter(played.verdict for played in everything), len(names - done))


def counts_against(played: Played) -> bool:
    """Tell whether a row shows, or leaves open, that something that must hold does not."""
    return played.row.level is Level.MUST and played.verdict in AGAINST


def holds(passes: Sequence[PassReport]) -> bool:
    """Tell whether rows were played and none of them counts against the subject."""
    everything = list(every(passes))
    was_played = any(played.verdict is not Verdict.SKIPPED for played in everything)
    return was_played and not any(counts_against(played) for played in everything)


def every(passes: Sequence[PassReport]) -> Iterator[Played]:
    """Yield the rows of all passes."""
    for each in passes:
        yield from each.played


def inferred(passes: Sequence[PassReport]) -> int:
    """Return of how many rows it was inferred, not seen, that nothing changed."""
    return sum(
        played.finding is not None and played.finding.unchanged is Evidence.INFERRED
        for played in every(passes)
    )
