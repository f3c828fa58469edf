"""A family of mutants of the Ultravisor's table: one cell of the 14 states by 6 operations is wrong.

A refusal becomes a success with nothing done, and so does a success that does something. Where nothing is to
be done, a call of the Hypervisor is refused; the SVM's own asks the Hypervisor for the page as if it had to.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np

from pef_kit.core.effects import Operation
from pef_kit.core.runs import U8
from pef_kit.core.table import Cell, Judgement
from pef_mutants.exchange import cells, everywhere, only_in
from pef_mutants.mutant import GeneratedMutant
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.from_guest import unshare_page
from pef_ultravisor.from_hypervisor import page_in
from pef_ultravisor.gfn.columns import Gfns, GfnSets, picked
from pef_ultravisor.gfn.table import CELLS as TRANSITIONS
from pef_ultravisor.gfn.table import GFN, OPEN_CALLS, OPERATIONS, Action, Event, GfnCell
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor import faults

ASKED_NEEDLESSLY: Final[Mapping[Event, GfnCell]] = {
    Event.SHARE: Cell(S.HV_SHARING, UCode.U_SUCCESS, Action.REQUEST_CHANGE),
    Event.UNSHARE_ALL: Cell(S.HV_UNSHARING_INV, UCode.U_SUCCESS, Action.REQUEST_CHANGE),
}
REFUSED_NEEDLESSLY: Final[Mapping[Event, UCode]] = {
    Event.PAGE_IN: UCode.U_P2,
    Event.PAGE_OUT: UCode.U_PARAMETER,
    Event.PAGE_INVAL: UCode.U_P2,
}


AT_HOME: Final = frozenset({S.SECURE, S.PAGEDOUT, S.SHARED})
"""States in which each call as it should be meets a GFN."""


def wrong(event: Event, state: S, cell: GfnCell) -> GfnCell:
    """Return what stands in place of a cell, and is wrong."""
    idle = cell.code is UCode.U_SUCCESS and cell.next_state is state and cell.action is Action.NOTHING
    if not idle:
        return Cell(state, UCode.U_SUCCESS, Action.NOTHING)
    if event in ASKED_NEEDLESSLY:
        return ASKED_NEEDLESSLY[event]
    return Cell(state, REFUSED_NEEDLESSLY[event], Action.NOTHING)


@contextmanager
def wrong_cell(event: Event, state: S) -> Iterator[None]:
    """Have one cell of the table be wrong."""
    with cells(GFN, {event: {state: wrong(event, state, TRANSITIONS[event][state])}}):
        yield


@contextmanager
def wrong_once_secure(event: Event, state: S) -> Iterator[None]:
    """Have one cell of UV_PAGE_IN be wrong for secure VMs alone: with it no VM would become one."""
    original = page_in.events_of

    def events_of(svm: Svm, gfns: Gfns, flags: int = 0) -> U8:
        events = original(svm, gfns, flags)
        if svm.state is not UvVmState.SECURE:
            events[gfns.slot.state[gfns.selection] == state] = Event.PAGE_IN_AT_DONE
        return events

    with wrong_cell(event, state), everywhere(original, events_of):
        yield


@contextmanager
def not_waited_for(event: Event, state: S) -> Iterator[None]:
    """Have a call of the SVM pass over GFNs in `state`, held by another call, as if all was done."""
    original = faults.resolve_fault

    def resolve_fault(
        uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, asked: Event, *, ignore_deadline: bool = False
    ) -> Operation[list[Judgement]]:
        if asked is not event:
            return (yield from original(uv, svm, gfn_sets, asked, ignore_deadline=ignore_deadline))
        others = [np.asarray(part.slot.state[part.selection] != state) for part in gfn_sets]
        yield from original(uv, svm, picked(gfn_sets, others), asked, ignore_deadline=ignore_deadline)
        return [GFN.judge(asked, part.slot.state[part.selection]) for part in gfn_sets]

    with wrong_cell(event, state), everywhere(original, resolve_fault):
        yield


@contextmanager
def taken_back_in_vain(event: Event, state: S) -> Iterator[None]:
    """Have UV_UNSHARE_PAGE of a page that the Ultravisor shares for itself succeed, with nothing done."""
    others = tuple(each for each in unshare_page.KEPT_SHARED if each is not state)
    with wrong_cell(event, state), only_in(unshare_page, "KEPT_SHARED", others):
        yield


def _generated(event: Event, state: S) -> GeneratedMutant:
    way = wrong_cell
    if event in {Event.SHARE, Event.UNSHARE, Event.UNSHARE_ALL} and state in OPEN_CALLS:
        way = not_waited_for
    elif (event, state) == (Event.PAGE_IN, S.HV_SHARING):
        way = wrong_once_secure
    elif event is Event.UNSHARE and state in unshare_page.KEPT_SHARED:
        way = taken_back_in_vain
    cell, instead = TRANSITIONS[event][state], wrong(event, state, TRANSITIONS[event][state])
    operation = event.name.lower().replace("_", "-")
    return GeneratedMutant(
        f"cell/{state.name}/{event.name}",
        Side.ULTRAVISOR,
        f"{event.name} of a GFN in {state.name}: {reported(instead)} instead of {reported(cell)}",
        lambda: way(event, state),
        ids=(f"gfn/{state.name}/{operation}*", *((f"uv/{operation}/success",) if state in AT_HOME else ())),
    )


def reported(cell: GfnCell) -> str:
    """Say in words what a cell holds."""
    return f"{cell.code.name}, {cell.action.name}, then {cell.next_state.name}"


CELLS: Final = tuple(_generated(event, state) for state in S for event in OPERATIONS)
