"""Two families of mutants of the check orders: one check is left out, two neighbours are swapped.

A check that the transition table answers is left out there: what it refuses succeeds, and nothing is done.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import numpy as np

from pef_hypervisor.dispatch import HANDLERS as HYPERCALL_HANDLERS
from pef_hypervisor.gfn.table import FOUR_STATES_CELLS, GfnAction, GfnEvent, to
from pef_kit.core.checks import CheckOrder, answered_by_table
from pef_kit.core.table import Cell
from pef_mutants.exchange import attribute, cells, cells_of_every_design
from pef_mutants.mutant import GeneratedMutant
from pef_protocol.calls import CALLS, Call
from pef_protocol.check_orders import Check
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_ultravisor.dispatch import HANDLERS as ULTRACALL_HANDLERS
from pef_ultravisor.gfn.table import GFN, Action, Event

HANDLERS: Final[Mapping[str, Callable[..., Any]]] = {**ULTRACALL_HANDLERS, **HYPERCALL_HANDLERS}


def check_order_of(call: Call) -> CheckOrder[Any]:
    """Return the check order that the handler of a call uses: its module has one with these checks."""
    checks = tuple(check for check in call.check_order if not answered_by_table(check))
    held = vars(sys.modules[HANDLERS[call.name].__module__]).values()
    (found,) = {each for each in held if isinstance(each, CheckOrder) and each.checks == checks}
    return found


CHECK_ORDERS: Final = {call.name: check_order_of(call) for call in CALLS.values()}


def side_of(call: Call) -> Side:
    """Return the side that answers a call."""
    return Side.ULTRAVISOR if call.is_ultracall else Side.HYPERVISOR


@contextmanager
def forgetting(call: Call, check: Check) -> Iterator[None]:
    """Have the check order of `call` let everything pass at `check`."""

    def every_message(_: object) -> bool:
        return True

    def every_run(asked: Any) -> Any:
        return np.ones(len(asked.gpas), np.bool_)

    check_order = CHECK_ORDERS[call.name]
    checks = {**vars(check_order)["_functions"], check.name: every_run if check.per_run else every_message}
    with attribute(check_order, "_functions", checks):
        yield


@contextmanager
def forgetting_in_table(call: Call, check: Check) -> Iterator[None]:
    """Have the table answer success, and nothing be done, where `check` would refuse a GFN's state."""
    if call.is_ultracall:
        event = Event[call.name.removeprefix("UV_")]
        refused = {state: cell for state, cell in GFN.cells[event].items() if cell.code is check.code}
        kept = {state: Cell(state, UCode.U_SUCCESS, Action.NOTHING) for state in refused}
        with cells(GFN, {event: kept}):
            yield
        return
    row = FOUR_STATES_CELLS[GfnEvent[call.name.removeprefix("H_SVM_")]]
    states = [state for state, cell in row.items() if cell.code is check.code]
    with cells_of_every_design({GfnEvent.PAGE_IN: {state: to(state, GfnAction.NOTHING) for state in states}}):
        yield


@contextmanager
def swapped(call: Call, first: Check, second: Check) -> Iterator[None]:
    """Have the check order of `call` go through two neighbouring checks the wrong way round."""
    check_order = CHECK_ORDERS[call.name]
    other = {first: second, second: first}
    with attribute(check_order, "checks", tuple(other.get(check, check) for check in check_order.checks)):
        yield


def path_of(call: Call) -> str:
    """Return how ids of rows of a call begin: `uv/page-in`."""
    side, name = ("uv", "UV_") if call.is_ultracall else ("hv", "H_SVM_")
    return f"{side}/{call.name.removeprefix(name).lower().replace('_', '-')}"


def rows_of(call: Call, check: Check) -> tuple[str, ...]:
    """Return patterns of the rows that want a check to refuse: alone, and before and after others."""
    path = path_of(call)
    return (
        f"{path}/{check.name}",
        f"{path}/{check.name}:*",
        f"{path}/order/{check.name}<*",
        f"{path}/order/*<{check.name}",
    )


def _forgets(call: Call, check: Check) -> GeneratedMutant:
    way = forgetting_in_table if answered_by_table(check) else forgetting
    return GeneratedMutant(
        f"forgets/{call.name}/{check.name}",
        side_of(call),
        f"{call.name} does not refuse {check.refuses}",
        lambda: way(call, check),
        ids=rows_of(call, check),
    )


def _swaps(call: Call, first: Check, second: Check) -> GeneratedMutant:
    return GeneratedMutant(
        f"swaps/{call.name}/{first.name},{second.name}",
        side_of(call),
        f"{call.name} looks for {second.refuses} before {first.refuses}",
        lambda: swapped(call, first, second),
        ids=(
            f"{path_of(call)}/order/{first.name}<{second.name}",
            *(f"{path_of(call)}/{check.name}{way}" for check in (first, second) for way in ("", ":*")),
        ),
    )


FORGETS: Final = tuple(_forgets(call, check) for call in CALLS.values() for check in call.check_order)
SWAPS: Final = tuple(
    _swaps(call, first, second)
    for call in CALLS.values()
    for first, second in pairwise(CHECK_ORDERS[call.name].checks)
    if first.code is not second.code
)
