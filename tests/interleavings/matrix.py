"""The matrix: every operation, at each of its yields, and every other run to its end there.

Each case begins with the same scene, in which the suspended operation is begun anew and brought to its yield.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

from interleavings.case import GIVEN_UP, Case, Suspended
from interleavings.columns import (
    BY_DESIGN,
    COLUMNS,
    COMPOUND,
    ELSEWHERE,
    ENDINGS,
    NORMAL_ROWS,
    NORMAL_VM,
    Column,
    targets,
)
from interleavings.saved import Saved
from interleavings.setting import ROOMY, TIGHT, Setting, set_up
from interleavings.stack import LIMIT
from interleavings.steps import STEPS
from pef_protocol.designs import Design

SETTINGS: Final = (
    Setting(Design.TRACKED, ROOMY),
    Setting(Design.TRACKED, TIGHT),
    Setting(Design.PUSHED_FIXED, ROOMY),
    Setting(Design.EAGER, ROOMY),
)


LEAST: Final = 10_000
"""Cases that there must be."""
MOST_PROCESSES: Final = 4
FEW: Final = 20
"""Yields that are enough to tell a mutant."""


@dataclass(frozen=True, slots=True)
class Row:
    """An operation that is suspended: its step, and its VM."""

    setting: Setting
    step: str
    lpid: int


@dataclass(slots=True)
class Report:
    """What came of rows. `cells` counts yields by (suspended, run to its end)."""

    cases: int = 0
    yields: int = 0
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    violated: int = 0
    examples: dict[str, tuple[int, str]] = field(default_factory=dict)
    """For each kind the shortest case: how many steps it has, and what it is."""

    def add(self, other: "Report") -> None:
        """Take in what came of other rows."""
        self.cases += other.cases
        self.yields += other.yields
        self.violated += other.violated
        self.cells.update(other.cells)
        self.kinds.update(other.kinds)
        for kind, example in other.examples.items():
            self.examples[kind] = min(example, self.examples.get(kind, example))


def rows() -> list[Row]:
    """Return the rows of every setting: all in the first, in the others those in which they can differ."""
    return [
        row
        for setting in SETTINGS
        for row in (
            *(Row(setting, step, 1) for step in STEPS if is_row(setting, step)),
            *(Row(setting, step, NORMAL_VM) for step in NORMAL_ROWS),
        )
    ]


def is_row(setting: Setting, step: str) -> bool:
    """Tell whether a step is suspended in VM 1."""
    return setting == SETTINGS[0] or (step in BY_DESIGN and not is_defect(setting, step))


def columns(setting: Setting) -> tuple[Column, ...]:
    """Return what is run beside the rows of a setting."""
    if setting == SETTINGS[0]:
        return COLUMNS
    chosen = tuple(column for column in COLUMNS if column in COMPOUND or column.key in ELSEWHERE)
    return tuple(column for column in chosen if not is_defect(setting, *column.steps))


def is_defect(setting: Setting, *steps: str) -> bool:
    """Tell whether steps break an invariant when they are alone: that is the design's own counterexample.

    Under `eager` a slot that is added to a secure VM is normal to one side and secure to the other.
    """
    return setting.design is Design.EAGER and steps in {
        ("add slot 2",),
        ("remove slot 1", "add slot 1", "store to the plugged slot"),
    }


_SAVED: Final[dict[Setting, Saved]] = {}


def run_row(row: Row, chosen: tuple[Column, ...] | None = None, most: int = LIMIT) -> Report:
    """Return what came of one row: the row's operation is begun anew for each case.

    `chosen`: these columns alone; `most`: at so many yields.
    """
    saved, report = saved_for(row.setting), Report()
    for yields in range(most):
        if _suspended(saved, row, yields).stack.ended:
            break
        report.yields += 1
        for column in columns(row.setting) if chosen is None else chosen:
            for lpid in targets(column, row.lpid):
                _add_case(report, row, yields, Case(_suspended(saved, row, yields), column, lpid))
    return report


def run_crossed(row: Row, endings: tuple[Column, ...] = ENDINGS) -> Report:
    """Return what came of a row that is suspended inside an ending, and goes on after its end."""
    saved, report = saved_for(row.setting), Report()
    for ending in endings:
        for outer in range(LIMIT):
            before = Row(row.setting, ending.steps[0], row.lpid)
            if _suspended(saved, before, outer).stack.ended:
                break
            for inner in range(LIMIT):
                begun = _suspended(saved, before, outer)
                first = Suspended(begun.fixture, STEPS[row.step], row.lpid)
                for _ in range(inner):
                    first.go_on()
                if first.stack.ended or first.stack.pauses > GIVEN_UP:  # it waits for the ending's end
                    break
                report.yields += 1
                _add_case(report, row, outer + inner, Case(first, ending, row.lpid, begun))
    return report


def saved_for(setting: Setting) -> Saved:
    """Return the scene in which every case of a setting begins; it is made once in each process."""
    if setting not in _SAVED:
        _SAVED[setting] = Saved(set_up(setting))
    return _SAVED[setting]


def _suspended(saved: Saved, row: Row, yields: int) -> Suspended:
    """Return the row's operation after so many steps."""
    first = Suspended(saved.again(), STEPS[row.step], row.lpid)
    for _ in range(yields):
        first.go_on()
    return first


def _add_case(report: Report, row: Row, yields: int, case: Case) -> None:
    names, reported = set(case.first.stack.names), case.first.stack.reported()
    found = case.run()
    report.cases += 1
    report.violated += bool(found)
    report.cells.update((name, other) for name in names for other in case.ran)
    report.kinds.update({violation.kind for violation in found})
    for kind, sentence in found:
        suspended = f"{row.setting}: {row.step} of VM {row.lpid} [{reported}]"
        where = f"{suspended}, {case.column.key} of VM {case.lpid}: {sentence}"
        example = yields + len(case.column.steps), where
        report.examples[kind] = min(example, report.examples.get(kind, example))


def run_job(job: tuple[bool, Row]) -> Report:
    """Return what came of one row, begun first or begun inside an ending."""
    crossed, row = job
    return run_crossed(row) if crossed else run_row(row)


def run_part(row: Row, column: str, *, crossed: bool) -> Report:
    """Return what came of one row and one column, at the first yields."""
    chosen = tuple(each for each in (ENDINGS if crossed else COLUMNS) if each.key == column)
    return run_crossed(row, chosen) if crossed else run_row(row, chosen, FEW)


def run_all() -> Report:
    """Return what came of all rows, worked out in as many processes as there are processors."""
    jobs = [(crossed, row) for row in rows() for crossed in {False, row.setting == SETTINGS[0]}]
    whole = Report()
    with get_context("spawn").Pool(min(len(os.sched_getaffinity(0)), MOST_PROCESSES)) as pool:
        for report in pool.imap_unordered(run_job, jobs):
            whole.add(report)
    return whole
