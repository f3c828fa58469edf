"""Bringing GFNs into a state in which a call or an access can go on.

`settled` judges GFNs for an event again and again: it waits for those that another call has in hand, and has
the Hypervisor bring back those that are paged out or invalidated, until neither is left.
"""

from itertools import count
from typing import Final

import numpy as np

from pef_kit.columns import GfnSet
from pef_kit.operations import Operation, Pause
from pef_kit.spans import Mask, among
from pef_kit.transitions import Judgement
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.columns import PROMISED, WAITING, FrameSlot, Svm, narrowed, page_runs
from pef_ultravisor.gfn.table import GFN, IS_AWAY, Deed, Event
from pef_ultravisor.memory.in_flight import chosen_in, in_flight
from pef_ultravisor.state import Ultravisor
from pef_ultravisor.to_hypervisor.calls import NONSHARED, SHARED, Busy, Refused, page_in
from pef_ultravisor.to_hypervisor.eviction import make_room

TRIES: Final = 4
"""How often a page is asked for that the Hypervisor says it brought, and did not."""


class Unsettled(Exception):
    """GFNs can't be brought into a state to go on: says why."""


class InHand(Unsettled):
    """A GFN was in somebody's hand, or had no room, until time was over: the caller may try later."""


def settled(
    uv: Ultravisor, svm: Svm, gfn_sets: list[GfnSet[FrameSlot]], event: Event, *, patient: bool = False
) -> Operation[list[Judgement]]:
    """Return the judgements of `event` for `gfn_sets` once no GFN needs waiting or fetching first.

    Raise Unsettled where that does not come to pass. Nothing was yielded since the judgements were made, and
    nothing is held. `patient`: there is always time.
    """
    fetched = 0
    for attempt in count():
        require_running(svm)
        require_registered(svm, gfn_sets)
        judgements = [GFN.judge(event, gfns.slot.state[gfns.selection]) for gfns in gfn_sets]
        missing = [
            (flags, part)
            for gfns, judgement in zip(gfn_sets, judgements, strict=True)
            for flags, deed in ((NONSHARED, Deed.FETCH), (SHARED, Deed.FETCH_SHARED))
            if (part := narrowed(gfns, among(judgement.does, deed)))
        ]
        obstacle = "another call has the page in hand" if any(map(_in_hand, gfn_sets)) else ""
        if not missing and not obstacle:
            return judgements
        if fetched == TRIES:
            message = "the Hypervisor says that it brought a page, and did not"
            raise Unsettled(message)
        for flags, part in () if obstacle else missing:
            obstacle = yield from fetch(uv, svm, part, flags, patient=patient)
            if obstacle:
                break
        fetched += not obstacle
        if obstacle and not (yield Pause(attempt, patient=patient)):
            raise InHand(obstacle)
    raise AssertionError


def settled_with_room(
    uv: Ultravisor, svm: Svm, gfn_sets: list[GfnSet[FrameSlot]], event: Event, deed: Deed
) -> Operation[list[Judgement]]:
    """Return the judgements of `settled` once secure memory has room for the GFNs that need `deed`."""
    while True:
        judgements = yield from settled(uv, svm, gfn_sets, event)
        pages = sum(int(np.count_nonzero(among(judgement.does, deed))) for judgement in judgements)
        if uv.has_room(pages):
            return judgements
        if not (yield from make_room(uv, pages)):
            message = "secure memory is full"
            raise Unsettled(message)


def _in_hand(gfns: GfnSet[FrameSlot]) -> bool:
    return bool(np.count_nonzero(gfns.slot.in_flight(gfns.selection)))


def require_running(svm: Svm) -> None:
    """Raise Unsettled where the SVM was aborted meanwhile."""
    if svm.state is UvVmState.ABORT:
        message = "the SVM is aborted"
        raise Unsettled(message)


def require_registered(svm: Svm, gfn_sets: list[GfnSet[FrameSlot]]) -> None:
    """Raise Unsettled where a slot of `gfn_sets` was taken away meanwhile.

    That is looked at wherever GFNs are judged, and needs no lease: UV_UNREGISTER_MEM_SLOT refuses a slot with
    a GFN in flight, and what is judged is in flight before the next yield.
    """
    if any(svm.slots.get(gfns.slot.slot_id) is not gfns.slot for gfns in gfn_sets):
        message = "a slot was taken away"
        raise Unsettled(message)


def fetch(
    uv: Ultravisor, svm: Svm, part: GfnSet[FrameSlot], flags: int, *, patient: bool = False
) -> Operation[str]:
    """Have the Hypervisor bring the GFNs of `part` back; raise Unsettled where it refuses.

    Return why it is worth another try; nothing where it is done, or where `part` must be judged anew.
    """
    if flags == NONSHARED and not (yield from make_room(uv, part.pages, patient=patient)):
        return "secure memory is full"
    require_running(svm)
    require_registered(svm, [part])
    if _in_hand(part) or not IS_AWAY[part.slot.state[part.selection]].all():
        return ""
    mark = WAITING | PROMISED if flags == NONSHARED else WAITING
    with in_flight(uv, svm, mark, chosen_in([part])):
        try:
            yield from page_in(svm, page_runs([part]), flags, patient=patient)
        except Busy as busy:
            return str(busy)
        except Refused as refusal:
            raise Unsettled(str(refusal)) from None
    return ""


def any_of(judgements: list[Judgement], deed: Deed) -> bool:
    """Tell whether any GFN is judged to need `deed`."""
    return any(bool(np.count_nonzero(among(judgement.does, deed))) for judgement in judgements)


def picked(gfn_sets: list[GfnSet[FrameSlot]], masks: list[Mask]) -> list[GfnSet[FrameSlot]]:
    """Return the GFNs of `gfn_sets` that `masks` (one per set, bool a page) pick."""
    parts = (narrowed(gfns, mask) for gfns, mask in zip(gfn_sets, masks, strict=True))
    return [part for part in parts if part is not None]
