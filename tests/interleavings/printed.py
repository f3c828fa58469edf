"""The matrix as text of 80 columns, and why a cell of it is empty."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from interleavings.columns import COMPOUND
from interleavings.matrix import Report
from interleavings.steps import STEPS
from pef_protocol.calls import CALLS

OPERATIONS: Final = tuple(dict.fromkeys([*CALLS, *(step.key for step in STEPS.values())]))
"""The operations that are suspended: the 17 calls, then those of guests, the VMM and the host's memory."""
RUN: Final = (*OPERATIONS, *(column.key for column in COMPOUND))
"""Those that are run to their end: the same, and the compound ones."""
REASONS: Final = Path(__file__).with_name("empty_cells.txt")
ANY: Final = "*"
WIDTH: Final = 12
"""Columns of the matrix that are printed beside each other."""


def reasons() -> dict[tuple[str, str], str]:
    """Return why cells are empty, by (suspended, run to its end); `*` stands for every operation."""
    lines = [line for line in REASONS.read_text().splitlines() if line and not line.startswith("#")]
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        suspended, run, reason = (part.strip() for part in line.split("|"))
        found[suspended, run] = reason
    return found


def wrong_reasons(cells: Counter[tuple[str, str]]) -> Iterator[str]:
    """Yield a sentence for each empty cell without a reason, and each reason without an empty cell."""
    known, used = reasons(), set()
    for suspended in OPERATIONS:
        for run in RUN:
            if cells[suspended, run]:
                continue
            keys = [(suspended, run), (suspended, ANY), (ANY, run)]
            fits = [key for key in keys if key in known]
            used.update(fits)
            if not fits:
                yield f"no case has {suspended} suspended and {run} run, and no reason is given"
    for suspended, run in known:
        full = [
            cell for cell in cells if suspended in {ANY, cell[0]} and run in {ANY, cell[1]} and cells[cell]
        ]
        if (suspended, run) not in used or full:
            yield f"a reason is given for {suspended} | {run}, which has cases"


def matrix_of(cells: Counter[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of the matrix: how many yields were tried, of the row, for the column."""
    keys = {run: f"{number:02}" for number, run in enumerate(RUN, 1)}
    yield "Columns, run to their end:"
    yield from (f"  {key} {run}" for run, key in keys.items())
    for start in range(0, len(RUN), WIDTH):
        shown = RUN[start : start + WIDTH]
        yield ""
        yield f"{'suspended':21}" + "".join(f"{keys[run]:>5}" for run in shown)
        for suspended in OPERATIONS:
            numbers = (cells[suspended, run] for run in shown)
            yield f"{suspended:21}" + "".join(f"{number or '.':>5}" for number in numbers)


def lines_of(report: Report, found: list[str]) -> Iterator[str]:
    """Yield all that is printed; `found`: reasons that are wrong."""
    yield from matrix_of(report.cells)
    if report.kinds:
        yield ""
        yield "Violations, by kind; one of the shortest cases each:"
    for kind, count in report.kinds.most_common():
        yield f"  {count:5} {kind}"
        yield f"        {report.examples[kind][1]}"
    yield ""
    yield from found
    yield f"interleavings: {report.cases} cases, {report.violated} violations"
