"""The matrix of rows and mutants: the proof that each row can fail, and that no fault goes unseen.

    PYTHONPATH=tests python -m conformance [--json FILE] [--mutant PATTERN]... [--all] [--whole]

Some processes hold the trials; progress is told while they do. The table has a line a family of mutants or,
with `--all`, a line a mutant; the file has every verdict. Ends with 1 where a mutant that lives, or a row
that kills none, is not explained.
"""

import argparse
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, TypeAlias

from rich.console import Console
from rich.table import Table

from conformance.explained import EMPTY, SURVIVORS
from conformance.grid import Grid, fits
from conformance.judging import EVERYTHING, SOUND, Judged, Others, Trial, Wanted, judge, ready
from conformance.judging import trials as all_trials
from conformance.likely import LIKELY
from mutants.forked import CONTEXT, begin
from pef_lab.rows.row import Verdict
from pef_lab.sizes import counted
from pef_mutants.all_mutants import ALL_MUTANTS
from pef_mutants.mutant import GeneratedMutant

PROCESSES: Final = 3
"""One more than processors that are expected: some trials wait for a patience to end."""
Tell: TypeAlias = Callable[[Judged, int, int], None]
"""Is told of each trial, how many are done, and of how many."""


def tell_nobody(_: Judged, __: int, ___: int) -> None:
    """Tell nobody."""


def hold(
    chosen: Iterable[Trial], *, whole: bool = False, processes: int = PROCESSES, tell: Tell = tell_nobody
) -> Grid:
    """Hold the trials and return what they came to; all of them, if `whole`, or what proves as much."""
    begin("conformance.judging")
    trials, so_far = list(chosen), SoFar()
    waiting = deque(trials)
    running: dict[Future[Judged], Trial] = {}
    with ProcessPoolExecutor(processes, mp_context=CONTEXT, initializer=ready) as pool:
        while waiting or running:
            while waiting and len(running) < processes:
                trial = waiting.popleft()
                running[pool.submit(judge, trial, EVERYTHING if whole else so_far.wanted(trial))] = trial
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                del running[each]
                so_far.note(each.result())
                tell(each.result(), len(so_far.judged), len(trials))
    return Grid([so_far.judged[trial] for trial in trials], SURVIVORS, EMPTY)


@dataclass(slots=True)
class SoFar:
    """What is known while trials are held: which rows killed a mutant, and which mutants they killed."""

    judged: dict[Trial, Judged] = field(default_factory=dict)
    sound: set[str] = field(default_factory=set)
    killing: set[str] = field(default_factory=set)
    killed: set[str] = field(default_factory=set)

    def wanted(self, trial: Trial) -> Wanted:
        """Return what a trial can still add."""
        if trial.mutant == SOUND or isinstance(ALL_MUTANTS[trial.mutant], GeneratedMutant):
            return EVERYTHING
        idle = frozenset(row.id for row in trial.rows) - self.killing
        others = Others.NONE if trial.mutant in self.killed else Others.UNTIL_ONE_FAILS
        return Wanted(idle, others, LIKELY.get(trial.mutant, ""))

    def note(self, judged: Judged) -> None:
        """Note what came of a trial."""
        self.judged[judged.trial] = judged
        if judged.trial.mutant == SOUND:
            self.sound |= {row for row, verdict in judged.verdicts.items() if verdict is Verdict.PASS}
        elif killing := judged.failed & self.sound:
            self.killing |= killing
            self.killed.add(judged.trial.mutant)


FAMILIES: Final[Mapping[str, str]] = {
    "forgets/*": "a rung forgotten",
    "swaps/*": "two rungs swapped",
    "cell/gfn/*": "a wrong cell, Hypervisor's GFNs",
    "cell/vm/*": "a wrong cell, Hypervisor's VMs",
    "cell/*": "a wrong cell, Ultravisor's GFNs",
    "changes/*": "refused, and changed",
    "uv/*": "by hand, Ultravisor",
    "hv/*": "by hand, Hypervisor",
    "D*": "defects of the firmware",
    "K*": "defects of the kernel",
}
"""Families of mutants, by the first pattern that an id fits."""


def family(mutant: str) -> str:
    """Return the family that a mutant is of."""
    return next(name for pattern, name in FAMILIES.items() if fnmatchcase(mutant, pattern))


def table_of(grid: Grid, line: Callable[[str], str]) -> Table:
    """Return the table of a grid, with a line for each thing that `line` makes of a mutant's id."""
    heads = ("mutants", "killed", "explained", "rows that kill", "error", "unclear", "s")
    table = Table("", *heads)
    for column in table.columns[1:]:
        column.justify = "right"
    names = dict.fromkeys(line(mutant) for mutant in grid.kills)
    for name in names:
        mine = [mutant for mutant in grid.kills if line(mutant) == name]
        judged = [each for each in grid.judged if each.trial.mutant in mine]
        killing = frozenset().union(*(grid.kills[mutant] for mutant in mine))
        table.add_row(
            name,
            str(len(mine)),
            str(sum(bool(grid.kills[mutant]) for mutant in mine)),
            str(sum(not grid.kills[mutant] and fits(mutant, grid.survivors) for mutant in mine)),
            str(len(killing)),
            str(sum(len(each.of(Verdict.ERROR)) for each in judged)),
            str(sum(len(each.of(Verdict.INCONCLUSIVE)) for each in judged)),
            f"{sum(each.seconds for each in judged):.0f}",
        )
    return table


def main(arguments: Sequence[str]) -> int:
    """Hold all trials, or those of some mutants, and tell."""
    parser = argparse.ArgumentParser(prog="conformance")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict there")
    parser.add_argument("--mutant", action="append", metavar="PATTERN", help="of these ids alone")
    parser.add_argument("--all", action="store_true", help="a line for each mutant")
    parser.add_argument("--whole", action="store_true", help="every row to every mutant that it may judge")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    asked = parser.parse_args(arguments)
    patterns = asked.mutant or ["*"]
    if odd := [each for each in patterns if not any(fnmatchcase(name, each) for name in ALL_MUTANTS)]:
        parser.error(f"no mutant is called {odd[0]}")
    told, shown = Console(stderr=True, highlight=False), Console(highlight=False)

    def tell(each: Judged, done: int, of: int) -> None:
        name = each.trial.mutant or "no mutant"
        rows = f"{len(each.failed)} of {counted(len(each.verdicts), 'row')} fail"
        told.print(f"{done}/{of} {name}, {each.trial.subject}: {each.failure or rows}", markup=False)

    chosen = [each for each in all_trials() if each.mutant == SOUND or fits(each.mutant, patterns)]
    grid = hold(chosen, whole=asked.whole, processes=asked.processes, tell=tell)
    if asked.json is not None:
        asked.json.write_text(json.dumps(grid.as_json(), indent=1) + "\n", encoding="utf-8")
    shown.print(table_of(grid, str if asked.all else family))
    whole = patterns == ["*"]
    wrongs = list(grid.wrongs()) if whole else [f"no row kills {mutant}" for mutant in sorted(grid.alive)]
    for sentence in wrongs:
        shown.print(sentence, markup=False, soft_wrap=True)
    killed = len(grid.kills) - len(grid.alive)
    shown.print(
        f"{killed} of {counted(len(grid.kills), 'mutant')} killed; "
        f"{len(grid.rows) - len(grid.idle)} of {counted(len(grid.rows), 'row')} kill one"
    )
    return int(bool(wrongs))
