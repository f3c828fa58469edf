"""The grid of rows and mutants: who kills whom, what survives, what is empty, and what was not explained."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from conformance.judging import SOUND, Judged
from pef_lab.rows.row import Verdict


@dataclass(frozen=True, slots=True)
class Grid:
    """What all trials came to. `survivors` and `empty` explain, by pattern of ids, what kills or dies not."""

    judged: Sequence[Judged]
    survivors: Mapping[str, str]
    empty: Mapping[str, str]

    @property
    def unsound(self) -> dict[str, str]:
        """Return the rows that do not pass where there is no mutant, with what they saw."""
        sound = [each for each in self.judged if each.trial.mutant == SOUND]
        return {row: seen for each in sound for row, seen in each.observed.items()}

    @property
    def failures(self) -> dict[str, str]:
        """Return the trials that could not be held, and why."""
        return {
            f"{each.trial.mutant} {each.trial.subject}": each.failure for each in self.judged if each.failure
        }

    @property
    def kills(self) -> dict[str, frozenset[str]]:
        """Return, by mutant, the rows that kill it: they pass where it is not, and fail where it is."""
        unsound = self.unsound.keys()
        found: dict[str, frozenset[str]] = {}
        for each in self.judged:
            if each.trial.mutant != SOUND:
                killing = each.failed - unsound
                found[each.trial.mutant] = found.get(each.trial.mutant, frozenset()) | killing
        return found

    @property
    def rows(self) -> frozenset[str]:
        """Return all rows that were played anywhere."""
        return frozenset(row for each in self.judged for row in each.verdicts)

    @property
    def alive(self) -> frozenset[str]:
        """Return the mutants that no row kills."""
        return frozenset(mutant for mutant, rows in self.kills.items() if not rows)

    @property
    def idle(self) -> frozenset[str]:
        """Return the rows that kill no mutant."""
        return self.rows - frozenset(row for rows in self.kills.values() for row in rows)

    def wrongs(self) -> Iterator[str]:
        """Yield a sentence for each thing that must not be."""
        unclear = {row for each in self.judged for row in each.of(Verdict.INCONCLUSIVE)}
        for row, seen in self.unsound.items():
            if not (row in unclear and fits(row, self.empty)):
                yield f"row {row} does not pass where there is no mutant: {seen}"
        for trial, reason in self.failures.items():
            yield f"trial {trial} could not be held: {reason}"
        yield from _unexplained("mutant", "is killed by no row", self.alive, self.survivors)
        yield from _unexplained("row", "kills no mutant", self.idle, self.empty)
        killed = self.kills.keys() - self.alive
        yield from _untrue("mutant", "survives", killed, self.alive, self.survivors)
        yield from _untrue("row", "kills nothing", self.rows - self.idle, self.idle, self.empty)

    def as_json(self) -> dict[str, Any]:
        """Return all that was found, as JSON."""
        return {
            "schema": "pef-rows-matrix",
            "version": 1,
            "trials": [
                {
                    "mutant": each.trial.mutant,
                    "subject": each.trial.subject,
                    "failure": each.failure,
                    "seconds": round(each.seconds, 3),
                    "verdicts": dict(each.verdicts),
                    "observed": dict(each.observed),
                }
                for each in self.judged
            ],
            "kills": {mutant: sorted(rows) for mutant, rows in self.kills.items()},
            "survivors": sorted(self.alive),
            "empty": sorted(self.idle),
        }


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether an id fits one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _unexplained(what: str, fault: str, found: Iterable[str], told: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(found):
        if not fits(name, told):
            yield f"{what} {name} {fault}, and nobody says why"


def _untrue(
    what: str, claim: str, against: Iterable[str], found: Iterable[str], told: Mapping[str, str]
) -> Iterator[str]:
    for name in sorted(against):
        if fits(name, told):
            yield f"{what} {name} does not: the list says that it {claim}"
    for pattern in told:
        if not any(fnmatchcase(name, pattern) for name in found):
            yield f"no {what} that {claim} fits {pattern}: the list is out of date"
