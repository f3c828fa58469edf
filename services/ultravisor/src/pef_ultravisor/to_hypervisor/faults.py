"""Bringing GFNs into a state in which a call or an access can go on.

`resolve_fault` judges GFNs for an event again and again: it waits for those that another call has in flight,
and has the Hypervisor bring back those that are paged out or invalidated, until neither is left.
"""

from contextlib import nullcontext
from itertools import count
from typing import Final

import numpy as np

from pef_kit.core.effects import Operation, pause
from pef_kit.core.runs import isin
from pef_kit.core.table import Judgement
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.columns import HCALL_PENDING, RESERVED, Gfns, GfnSets, narrowed, page_runs
from pef_ultravisor.gfn.table import GFN, IS_AWAY, Action, Event
from pef_ultravisor.in_flight import in_flight
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.calls import FAULT, NONSHARED, SHARED, Busy, Refused, page_in
from pef_ultravisor.to_hypervisor.eviction import make_room

TRIES: Final = 4
"""How often a page is asked for that the Hypervisor says it brought, and did not."""


class FaultError(Exception):
    """GFNs can't be brought into a state to go on: says why."""


class FaultBusy(FaultError):
    """A GFN was in flight, or had no room, until time was over: the caller may try later."""


def resolve_fault(
    uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, event: Event, *, ignore_deadline: bool = False
) -> Operation[list[Judgement]]:
    """Return the judgements of `event` for `gfn_sets` once no GFN needs waiting or fetching first.

    Raise FaultError where that does not come to pass. Nothing was yielded since the judgements were made, and
    nothing is held. `ignore_deadline`: there is always time.
    """
    reflects = svm.settings.reflects_faults and event is Event.TOUCH
    fetched = 0
    for attempt in count():
        require_running(svm)
        require_registered(svm, gfn_sets)
        judgements = [GFN.judge(event, gfns.slot.state[gfns.selection]) for gfns in gfn_sets]
        missing = [
            (flags, part)
            for gfns, judgement in zip(gfn_sets, judgements, strict=True)
            for flags, action in (
                (NONSHARED, Action.PAGE_IN),
                (FAULT if reflects else SHARED, Action.PAGE_IN_SHARED),
            )
            if (part := narrowed(gfns, isin(judgement.action, action)))
        ]
        obstacle = "another call has the page in hand" if any(map(_is_in_flight, gfn_sets)) else ""
        if not missing and not obstacle:
            return judgements
        if fetched == TRIES:
            message = "the Hypervisor says that it brought a page, and did not"
            raise FaultError(message)
        for flags, part in () if obstacle else missing:
            obstacle = yield from fetch(uv, svm, part, flags, ignore_deadline=ignore_deadline)
            if obstacle:
                break
        fetched += not obstacle
        if obstacle and not (yield from pause(attempt, ignore_deadline=ignore_deadline)):
            raise FaultBusy(obstacle)
    raise AssertionError


def resolve_with_room(
    uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, event: Event, action: Action
) -> Operation[list[Judgement]]:
    """Return the judgements of `resolve_fault` once there is room for the GFNs that need `action`."""
    while True:
        judgements = yield from resolve_fault(uv, svm, gfn_sets, event)
        pages = sum(int(np.count_nonzero(isin(judgement.action, action))) for judgement in judgements)
        if uv.has_room(pages):
            return judgements
        if not (yield from make_room(uv, pages)):
            message = "secure memory is full"
            raise FaultError(message)


def _is_in_flight(gfns: Gfns) -> bool:
    return bool(np.count_nonzero(gfns.slot.in_flight(gfns.selection)))


def require_running(svm: Svm) -> None:
    """Raise FaultError where the SVM was aborted meanwhile."""
    if svm.state is UvVmState.ABORT:
        message = "the SVM is aborted"
        raise FaultError(message)


def require_registered(svm: Svm, gfn_sets: GfnSets) -> None:
    """Raise FaultError where a slot of `gfn_sets` was taken away meanwhile.

    That is looked at wherever GFNs are judged, and needs no lease: UV_UNREGISTER_MEM_SLOT refuses a slot with
    a GFN in flight, and what is judged is in flight before the next yield.
    """
    if any(svm.slots.get(gfns.slot.slot_id) is not gfns.slot for gfns in gfn_sets):
        message = "a slot was taken away"
        raise FaultError(message)


def fetch(
    uv: Ultravisor, svm: Svm, part: Gfns, flags: int, *, ignore_deadline: bool = False
) -> Operation[str]:
    """Have the Hypervisor bring the GFNs of `part` back; raise FaultError where it refuses.

    Return why it is worth another try; nothing where it is done, or where `part` must be judged anew.
    """
    if flags == NONSHARED and not (yield from make_room(uv, part.pages, ignore_deadline=ignore_deadline)):
        return "secure memory is full"
    require_running(svm)
    require_registered(svm, [part])
    if _is_in_flight(part) or not IS_AWAY[part.slot.state[part.selection]].all():
        return ""
    mark = HCALL_PENDING | RESERVED if flags == NONSHARED else HCALL_PENDING
    # A reflected fault has left the Ultravisor: nothing waits here, so nothing is in flight.
    with nullcontext() if flags == FAULT else in_flight(uv, svm, mark, [part]):
        try:
            yield from page_in(svm, page_runs([part]), flags, ignore_deadline=ignore_deadline)
        except Busy as busy:
            return str(busy)
        except Refused as refusal:
            raise FaultError(str(refusal)) from None
    return ""


def any_of(judgements: list[Judgement], action: Action) -> bool:
    """Tell whether any GFN is judged to need `action`."""
    return any(bool(np.count_nonzero(isin(judgement.action, action))) for judgement in judgements)
