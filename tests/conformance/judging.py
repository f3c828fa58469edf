"""Plays rows to a service with one mutant in it, and notes which of them find it.

A mutant that was made by rule is judged by the rows about the place of its fault, any other by all rows of
its side; rows that wait until the subject's own patience ends judge only the cells that they are about.
Each subject is also played without a mutant, for a row finds nothing if it fails there as well.

Whoever only wants to know that each mutant is killed and that each row kills needs less: the rows that have
killed nothing yet, and others until one kills.
"""

import asyncio
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from harness.processor_time import ProcessorTimeLoop
from mutants.forked import end_with_starter, forked
from pef_lab.failures import Unanswered
from pef_lab.rows.catalogue import all_rows
from pef_lab.rows.passes import OWN
from pef_lab.rows.row import Played, Row, Verdict
from pef_lab.rows.run import play
from pef_lab.rows.subject import Subject
from pef_mutants.all_mutants import ALL_MUTANTS
from pef_mutants.mutant import GeneratedMutant, Mutant
from pef_mutants.registry import MUTANTS
from pef_protocol.events import Side


class Others(Enum):
    """Which rows are played beside those that must be."""

    ALL = "all"
    UNTIL_ONE_FAILS = "until one fails"
    NONE = "none"


SOME: Final = 16
"""Rows that are played before anyone looks whether one failed."""
SOUND: Final = ""
"""Stands where a mutant's id does, for a subject without one."""
PATIENCE: Final = 12.0
"""Seconds that an answer may take, without waits for a processor: an Ultravisor waits 7.5 for a busy GFN."""
ALONE: Final[Mapping[Side, tuple[Subject, ...]]] = {
    Side.ULTRAVISOR: (Subject.ULTRAVISOR,),
    Side.HYPERVISOR: (Subject.HYPERVISOR, Subject.BARE_HYPERVISOR),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """A mutant, or none, and the subject that it is put into."""

    mutant: str
    subject: Subject

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the rows that are played."""
        mine = (row for row in all_rows() if self.subject in row.of)
        if self.subject is Subject.PAIR:
            mine = (row for row in mine if row.of == {Subject.PAIR})
        if self.mutant == SOUND:
            return tuple(mine)
        return tuple(row for row in mine if concerns(ALL_MUTANTS[self.mutant], row))


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a trial: each row's verdict, by its id, and what those that failed saw, after how long."""

    trial: Trial
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    observed: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    failure: str = ""
    """Why nothing could be played; empty where it could."""

    @property
    def failed(self) -> frozenset[str]:
        """Return the rows that failed."""
        return self.of(Verdict.FAIL)

    def of(self, verdict: Verdict) -> frozenset[str]:
        """Return the rows of a verdict."""
        return frozenset(row for row, each in self.verdicts.items() if each is verdict)


def concerns(mutant: Mutant, row: Row) -> bool:
    """Tell whether a row may judge a mutant."""
    if isinstance(mutant, GeneratedMutant):
        return mutant.concerns(row.id)
    return not row.patient


def trials() -> Iterator[Trial]:
    """Yield all trials: subjects as they are, mutants of one place, and those that all rows judge."""
    for subject in OWN:
        yield Trial(SOUND, subject)
    for mutant in sorted(
        ALL_MUTANTS.values(), key=lambda each: (not isinstance(each, GeneratedMutant), each.id in MUTANTS)
    ):
        subjects = (*ALONE[mutant.side], *(() if isinstance(mutant, GeneratedMutant) else (Subject.PAIR,)))
        held = [trial for subject in subjects if (trial := Trial(mutant.id, subject)).rows]
        yield from held or [Trial(mutant.id, subjects[0])]


def ready() -> None:
    """Make this process one that judges: it ends with its starter, and what it holds by now stays."""
    end_with_starter()
    all_rows()
    gc.freeze()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of a trial: the rows `first`, and the others, all or until one fails."""

    first: frozenset[str] = frozenset()
    others: Others = Others.ALL
    likely: str = ""
    """The one of the others that is played before the rest."""

    def turns(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Yield rows as they are to be played, some at a time; whoever plays them stops at a failure."""
        yield [row for row in rows if row.id in self.first or self.others is Others.ALL]
        if self.others is Others.UNTIL_ONE_FAILS:
            rest = [row for row in rows if row.id not in self.first]
            yield [row for row in rest if row.id == self.likely]
            rest = [row for row in rest if row.id != self.likely]
            for start in range(0, len(rest), SOME):
                yield rest[start : start + SOME]


EVERYTHING: Final = Wanted()


def judge(trial: Trial, wanted: Wanted = EVERYTHING) -> Judged:
    """Play the rows of one trial to a subject of our own."""
    began = time.perf_counter()
    mutants = () if trial.mutant == SOUND else (trial.mutant,)
    played: list[Played] = []
    failure = ""
    try:
        with forked(*mutants), asyncio.Runner(loop_factory=ProcessorTimeLoop) as runner:
            runner.run(_play(trial, wanted, played))
    except Unanswered as reason:
        failure = str(reason)
    verdicts = {each.row.id: each.verdict for each in played}
    observed = {
        each.row.id: each.finding.observed if each.finding else each.cause
        for each in played
        if each.verdict is not Verdict.PASS
    }
    return Judged(trial, verdicts, observed, time.perf_counter() - began, failure)


async def _play(trial: Trial, wanted: Wanted, played: list[Played]) -> None:
    turns = [rows for rows in wanted.turns(trial.rows) if rows]
    if not turns:
        return
    async with OWN[trial.subject](PATIENCE) as stage:
        for rows in turns:
            played += await play(stage, rows, PATIENCE)
            if any(each.verdict is Verdict.FAIL for each in played):
                return
