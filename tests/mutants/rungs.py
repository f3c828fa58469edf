"""Two families of mutants of the check ladders: a rung is forgotten, two neighbours are swapped.

A rung that the transition table answers is forgotten there: what it refuses succeeds, and nothing is done.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import numpy as np

from mutants.bred import Bred
from mutants.exchange import attribute, cells, cells_of_every_design
from pef_hypervisor.dispatch import HANDLERS as HYPERCALL_HANDLERS
from pef_hypervisor.gfn.table import FOUR_STATES_CELLS, GfnAction, GfnEvent, to
from pef_kit.ladder import Ladder, judged_by_table
from pef_kit.transitions import Cell
from pef_protocol.calls import CALLS, Call
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.ladders import Rung
from pef_ultravisor.dispatch import HANDLERS as ULTRACALL_HANDLERS
from pef_ultravisor.gfn.table import GFN, Action, Event

HANDLERS: Final[Mapping[str, Callable[..., Any]]] = {**ULTRACALL_HANDLERS, **HYPERCALL_HANDLERS}


def ladder_of(call: Call) -> Ladder[Any]:
    """Return the ladder that the handler of a call climbs: the one of its module that has its rungs."""
    rungs = tuple(rung for rung in call.ladder if not judged_by_table(rung))
    held = vars(sys.modules[HANDLERS[call.name].__module__]).values()
    (found,) = {each for each in held if isinstance(each, Ladder) and each.rungs == rungs}
    return found


LADDERS: Final = {call.name: ladder_of(call) for call in CALLS.values()}


def side_of(call: Call) -> Side:
    """Return the side that answers a call."""
    return Side.ULTRAVISOR if call.is_ultracall else Side.HYPERVISOR


@contextmanager
def forgetting(call: Call, rung: Rung) -> Iterator[None]:
    """Have the ladder of `call` let everything pass at `rung`."""

    def every_message(_: object) -> bool:
        return True

    def every_run(asked: Any) -> Any:
        return np.ones(len(asked.gpas), np.bool_)

    ladder = LADDERS[call.name]
    checks = {**vars(ladder)["_checks"], rung.name: every_run if rung.per_run else every_message}
    with attribute(ladder, "_checks", checks):
        yield


@contextmanager
def forgetting_in_table(call: Call, rung: Rung) -> Iterator[None]:
    """Have the table answer success, and nothing be done, where `rung` would refuse a GFN's state."""
    if call.is_ultracall:
        event = Event[call.name.removeprefix("UV_")]
        refused = {state: cell for state, cell in GFN.cells[event].items() if cell.code is rung.code}
        kept = {state: Cell(state, UCode.U_SUCCESS, Action.NOTHING) for state in refused}
        with cells(GFN, {event: kept}):
            yield
        return
    row = FOUR_STATES_CELLS[GfnEvent[call.name.removeprefix("H_SVM_")]]
    states = [state for state, cell in row.items() if cell.code is rung.code]
    with cells_of_every_design({GfnEvent.PAGE_IN: {state: to(state, GfnAction.NOTHING) for state in states}}):
        yield


@contextmanager
def swapped(call: Call, first: Rung, second: Rung) -> Iterator[None]:
    """Have the ladder of `call` climb two neighbouring rungs the wrong way round."""
    ladder = LADDERS[call.name]
    other = {first: second, second: first}
    with attribute(ladder, "rungs", tuple(other.get(rung, rung) for rung in ladder.rungs)):
        yield


def path_of(call: Call) -> str:
    """Return how ids of rows of a call begin: `uv/page-in`."""
    side, name = ("uv", "UV_") if call.is_ultracall else ("hv", "H_SVM_")
    return f"{side}/{call.name.removeprefix(name).lower().replace('_', '-')}"


def rows_of(call: Call, rung: Rung) -> tuple[str, ...]:
    """Return patterns of the rows that want a rung to refuse: alone, and before and after others."""
    path = path_of(call)
    return (
        f"{path}/{rung.name}",
        f"{path}/{rung.name}:*",
        f"{path}/order/{rung.name}<*",
        f"{path}/order/*<{rung.name}",
    )


def _forgets(call: Call, rung: Rung) -> Bred:
    way = forgetting_in_table if judged_by_table(rung) else forgetting
    return Bred(
        f"forgets/{call.name}/{rung.name}",
        side_of(call),
        f"{call.name} does not refuse {rung.refuses}",
        lambda: way(call, rung),
        ids=rows_of(call, rung),
    )


def _swaps(call: Call, first: Rung, second: Rung) -> Bred:
    return Bred(
        f"swaps/{call.name}/{first.name},{second.name}",
        side_of(call),
        f"{call.name} looks for {second.refuses} before {first.refuses}",
        lambda: swapped(call, first, second),
        ids=(
            f"{path_of(call)}/order/{first.name}<{second.name}",
            *(f"{path_of(call)}/{rung.name}{way}" for rung in (first, second) for way in ("", ":*")),
        ),
    )


FORGETS: Final = tuple(_forgets(call, rung) for call in CALLS.values() for rung in call.ladder)
SWAPS: Final = tuple(
    _swaps(call, first, second)
    for call in CALLS.values()
    for first, second in pairwise(LADDERS[call.name].rungs)
    if first.code is not second.code
)
