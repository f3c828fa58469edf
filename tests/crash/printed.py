"""What `make crash` prints, in 80 columns, and what must not be missing in it."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from crash.hello import GET_EPOCH, POST_HELLO
from crash.http_operations import HTTP_OPERATIONS
from crash.kills import Kills
from crash.matrix import Matrix
from crash.operations import OPERATIONS
from crash.pair import HINT
from pef_protocol.calls import CALLS
from pef_protocol.events import Side

MESSAGES: Final = (*CALLS, "bus read", "bus write", GET_EPOCH, POST_HELLO, HINT)
"""Every kind of message at which a side is killed."""
ENDS: Final = tuple((side, done) for side in (Side.HYPERVISOR, Side.ULTRAVISOR) for done in (False, True))
"""The cells of a kind: which side dies, and whether the message was done."""
LEAST: Final = 200
"""Kills over HTTP that there must be."""
REASONS: Final = Path(__file__).with_name("empty_cells.txt")
STEPS: Final = 10
Cell = tuple[str, Side, bool]


def when(cell: Cell) -> str:
    """Say which cell it is, as in the file of reasons."""
    name, side, done = cell
    return f"{name} | {side.value} | {'after' if done else 'before'}"


def reasons() -> dict[str, str]:
    """Return why cells are empty."""
    lines = [line for line in REASONS.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return {cell.strip(): reason.strip() for cell, _, reason in (line.rpartition("|") for line in lines)}


def cells_of(killed: Kills) -> Counter[Cell]:
    """Count the kills of each cell."""
    kills = [case.kill for case in killed.outcomes]
    return Counter((kill.name, kill.dies, kill.done) for kill in kills)


def wrong_cells(cells: Counter[Cell], given: dict[str, str]) -> Iterator[str]:
    """Yield a sentence for each empty cell without a reason, and each reason without an empty cell."""
    every = [(name, *end) for name in MESSAGES for end in ENDS]
    for cell in every:
        if not cells[cell] and not given.get(when(cell)):
            yield f"no kill, and no reason: {when(cell)}"
    for reported in given.keys() - {when(cell) for cell in every if not cells[cell]}:
        yield f"a reason, and no empty cell: {reported}"
    for name in sorted({name for name, _, _ in cells} - {*MESSAGES}):
        yield f"a message of no known kind: {name}"


def skipped(in_process: Matrix) -> Iterator[str]:
    """Yield a sentence for each operation of which a case was skipped: yields times sides times two."""
    cases = Counter(case.operation for case in in_process.outcomes)
    for number, moments in enumerate(in_process.moments):
        yields = sum(not moment.done for moment in moments)
        if not cases[number] == yields * len(Side) * 2 == len(moments) * len(Side):
            yield f"{OPERATIONS[number].name}: {yields} yields, {cases[number]} cases"


def of_operations(in_process: Matrix, killed: Kills) -> Iterator[str]:
    """Yield how many yields or messages each operation has."""
    yield f"{'in process':58}{'yields':>10}{'cases':>10}"
    cases = Counter(case.operation for case in in_process.outcomes)
    for number, moments in enumerate(in_process.moments):
        yield f"{OPERATIONS[number].name:58}{len(moments) // 2:10}{cases[number]:10}"
    yield ""
    yield f"{'over HTTP':58}{'messages':>10}{'kills':>10}"
    kills = Counter(case.operation for case in killed.outcomes)
    for number, found in enumerate(killed.moments):
        yield f"{HTTP_OPERATIONS[number].name:58}{len(found):10}{kills[number]:10}"
    yield ""


def of_messages(cells: Counter[Cell]) -> Iterator[str]:
    """Yield how often each side was killed before and after each kind of message."""
    yield f"{'':32}{'Hypervisor killed':>24}{'Ultravisor killed':>24}"
    yield f"{'over HTTP':32}{'before':>12}{'after':>12}{'before':>12}{'after':>12}"
    for name in MESSAGES:
        yield f"{name:32}" + "".join(f"{cells[name, *end] or '-':>12}" for end in ENDS)
    yield ""


def progress(what: str) -> Callable[[int, int], None]:
    """Return what tells on the error stream, at each tenth, how many cases are played."""

    def tell(done: int, cases: int) -> None:
        if done * STEPS // cases > (done - 1) * STEPS // cases:
            sys.stderr.write(f"crash: {done} of {cases} {what}\n")

    return tell
