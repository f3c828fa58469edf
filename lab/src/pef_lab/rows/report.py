"""What is told of passes: a summary of one screen, and a JSON file that leaves nothing out.

Neither has a URL or a token in it: a file can be handed on.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from pef_lab.blocks import Blocks
from pef_lab.output import write_file
from pef_lab.rows.ledger import Line, PassReport, every, holds, inferred, lines_of, total_of
from pef_lab.rows.row import Played, Verdict
from pef_lab.rows.sheet import Unmade
from pef_lab.rows.subject import Subject
from pef_lab.sizes import counted, show_seconds

SCHEMA: Final = "pef-rows"
VERSION: Final = 1
TOLD: Final = 12
"""Rows of one verdict that a summary tells of; files tell of all."""
HEADS_OF: Final = {
    Subject.PAIR: "pair",
    Subject.ULTRAVISOR: "UV alone",
    Subject.HYPERVISOR: "HV alone",
    Subject.BARE_HYPERVISOR: "bare HV",
}
"""Subjects at the head of a column."""
STYLES: Final = {
    Verdict.FAIL: "bold red",
    Verdict.ERROR: "bold magenta",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.WAIVED: "yellow",
}
"""Verdicts that have a column, and a list of their rows below the table."""
OTHER: Final = (Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.WAIVED)
SIGNS: Final = {Verdict.FAIL: "✘", Verdict.ERROR: "!", Verdict.INCONCLUSIVE: "?", Verdict.WAIVED: "~"}
HEADS: Final = {
    Verdict.FAIL: "fail",
    Verdict.ERROR: "error",
    Verdict.INCONCLUSIVE: "unclear",
    Verdict.WAIVED: "waived",
}


def show(
    console: Console, passes: Sequence[PassReport], unmade: Iterable[Unmade], said: Sequence[str]
) -> None:
    """Show the summary: a line a call, the rows that did not pass, and what all comes to."""
    console.print(table_of(passes))
    for verdict, style in STYLES.items():
        for line in told_of(verdict, passes):
            console.print(Text(line, style), soft_wrap=True)
    for line in (*totals_of(passes, unmade), *said):
        console.print(line, markup=False, soft_wrap=True)
    kept = holds(passes)
    console.print(
        Text(
            "✔ every MUST row that was played passes" if kept else "✘ not every MUST row passes",
            "bold green" if kept else "bold red",
        ),
        soft_wrap=True,
    )


def table_of(passes: Sequence[PassReport]) -> Blocks:
    """Return a line a call, and for cells and life cycles: rows, passed of played by subject, the rest.

    A verdict that no row has, other than fail, has no column: the totals say that there is none.
    """
    total = total_of(passes)
    verdicts = [verdict for verdict in HEADS if verdict is Verdict.FAIL or total.verdicts[verdict]]
    subjects = (HEADS_OF[each.subject] for each in passes)
    table = Blocks(("", "rows", *subjects, *(HEADS[verdict] for verdict in verdicts), "skipped"))
    lines = lines_of(passes)
    for number, line in enumerate(lines, 1):
        table.add_row(*_cells(line, passes, verdicts), end_section=number == len(lines))
    table.add_row(*_cells(total, passes, verdicts))
    return table


def _cells(line: Line, passes: Sequence[PassReport], verdicts: Sequence[Verdict]) -> Iterator[Text | str]:
    yield line.name
    yield str(line.rows)
    for each in passes:
        good, done = line.passed[each.subject]
        yield Text(f"{good}/{done}", "green" if good == done else "red") if done else "-"
    for verdict in verdicts:
        number = line.verdicts[verdict]
        yield Text(str(number), STYLES[verdict]) if number else "0"
    yield str(line.skipped)


def told_of(verdict: Verdict, passes: Sequence[PassReport]) -> Iterator[str]:
    """Yield what is told of rows of one verdict: each with what was seen, or those of one cause together."""
    found = [(each.subject, played) for each in passes for played in each.played if played.verdict is verdict]
    told = [
        line
        for cause, group in groupby(found, key=lambda one: one[1].cause)
        for line in _told(verdict, cause, list(group))
    ]
    yield from told[:TOLD]
    if len(told) > TOLD:
        yield f"  … and {len(told) - TOLD} more: --json FILE has them all"


def _told(verdict: Verdict, cause: str, rows: list[tuple[Subject, Played]]) -> Iterator[str]:
    """Yield the lines about rows of one cause; failing rows have their findings, and a line each."""
    if verdict in {Verdict.FAIL, Verdict.WAIVED}:
        for subject, played in rows:
            yield f"{SIGNS[verdict]} {_name(subject, played)}: {seen_in(played)}"
        return
    (subject, first), *more = rows
    others = f" and {counted(len(more), 'more row')}" if more else ""
    yield f"{SIGNS[verdict]} {_name(subject, first)}{others}: {verdict}: {cause}"


def _name(subject: Subject, played: Played) -> str:
    level = "" if played.row.level == "must" else f", {played.row.level}"
    return f"{played.row.id} ({subject}{level})"


def seen_in(played: Played) -> str:
    """Return what was expected and observed, and the cause where there is one."""
    finding = played.finding
    seen = f"expected {finding.expected}; observed {finding.observed}" if finding else ""
    return "; ".join(part for part in (seen, played.cause) if part)


def totals_of(passes: Sequence[PassReport], unmade: Iterable[Unmade]) -> Iterator[str]:
    """Yield what all rows come to, what was inferred, and which pairs of rungs have no row."""
    total = total_of(passes)
    plays = sum(done for _, done in total.passed.values())
    seconds = sum(each.seconds for each in passes)
    subjects = ", ".join(f"{each.subject} {show_seconds(each.seconds)}" for each in passes)
    came_of = {Verdict.PASS: "passed", Verdict.FAIL: "failed", **{verdict: str(verdict) for verdict in OTHER}}
    verdicts = ", ".join(f"{total.verdicts[verdict]} {word}" for verdict, word in came_of.items())
    yield (
        f"{counted(total.rows, 'row')}, {total.rows - total.skipped} of them played, "
        f"{counted(plays, 'time')} in all: {verdicts}"
    )
    yield f"in {show_seconds(seconds)}: {subjects}"
    by_digest = sum(each.finding is not None and each.finding.unchanged is not None for each in every(passes))
    guessed = inferred(passes)
    yield (
        f"that a refusal changed nothing: {by_digest - guessed} seen by digests, "
        f"{guessed} inferred from later calls"
    )
    reasons = Counter(each.reason for each in unmade)
    if reasons:
        listed = ", ".join(f"{reason} ({number})" for reason, number in reasons.most_common())
        yield f"{counted(reasons.total(), 'pair')} of rungs without a row: {listed}"


def write_json(
    file: Path, passes: Sequence[PassReport], unmade: Iterable[Unmade], said: Sequence[str]
) -> None:
    """Write all that is known of all rows."""
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "holds": holds(passes),
        "passes": [_pass(each) for each in passes],
        "unmade": [
            {"call": each.call, "first": each.first, "second": each.second, "reason": each.reason}
            for each in unmade
        ],
        "waivers": list(said),
    }
    write_file(file, [json.dumps(content, indent=1), "\n"])


def _pass(report: PassReport) -> dict[str, Any]:
    counts = Counter(str(played.verdict) for played in report.played)
    return {
        "subject": str(report.subject),
        "seconds": round(report.seconds, 3),
        "counts": {str(verdict): counts[str(verdict)] for verdict in Verdict},
        "rows": [_row(played) for played in report.played],
    }


def _row(played: Played) -> dict[str, Any]:
    row, finding = played.row, played.finding
    return {
        "id": row.id,
        "kind": str(row.kind),
        "call": row.call,
        "level": str(row.level),
        "clause": row.clause,
        "verdict": str(played.verdict),
        "expected": finding.expected if finding else None,
        "observed": finding.observed if finding else None,
        "evidence": str(finding.unchanged) if finding and finding.unchanged else None,
        "cause": played.cause or None,
        "seconds": round(played.seconds, 4),
    }
