"""Bringing GFNs into a state in which a call or an access can go on.

`settled` judges GFNs for an event again and again: it waits for those that another call has in hand, and has
the Hypervisor bring back those that are paged out or invalidated, until neither is left.
"""

from typing import Final

import numpy as np

from pef_kit.columns import Portion
from pef_kit.operations import PATIENCE, Operation, Pause
from pef_kit.spans import Mask, among
from pef_kit.transitions import Judgement
from pef_protocol.states import UvVmState
from pef_ultravisor.eviction import ROUNDS, make_room
from pef_ultravisor.frames import WAITING, FrameSlot, Svm, narrowed, page_runs
from pef_ultravisor.lifecycle import GFN, IS_AWAY, Deed, Event
from pef_ultravisor.machine import Ultravisor
from pef_ultravisor.requests import NONSHARED, SHARED, Refused, page_in

TRIES: Final = 4
"""How often a page is asked for that the Hypervisor says it brought, and did not."""


class Unsettled(Exception):
    """GFNs can't be brought into a state to go on: says why. The SVM may even be gone."""


class InHand(Unsettled):
    """Another call kept a GFN in hand for longer than anyone waits: the caller may try later."""


def settled(
    uv: Ultravisor, svm: Svm, portions: list[Portion[FrameSlot]], event: Event
) -> Operation[list[Judgement]]:
    """Return the judgements of `event` for `portions` once no GFN needs waiting or fetching first.

    Raise Unsettled where that does not come to pass. Nothing was yielded since the judgements were made.
    """
    fetched = 0
    for attempt in range(PATIENCE):
        require_alive(svm)
        require_registered(svm, portions)
        judgements = [GFN.judge(event, portion.slot.state[portion.chosen]) for portion in portions]
        if any(_in_hand(portion) for portion in portions):
            yield Pause(attempt)
            continue
        missing = [
            (flags, part)
            for portion, judgement in zip(portions, judgements, strict=True)
            for flags, deed in ((NONSHARED, Deed.FETCH), (SHARED, Deed.FETCH_SHARED))
            if (part := narrowed(portion, among(judgement.does, deed)))
        ]
        if not missing:
            return judgements
        if fetched == TRIES:
            message = "the Hypervisor says that it brought a page, and did not"
            raise Unsettled(message)
        fetched += 1
        for flags, part in missing:
            if not (yield from fetch(uv, svm, part, flags)):
                fetched = 0
                yield Pause(attempt)
    message = "another call has the page in hand"
    raise InHand(message)


def settled_with_room(
    uv: Ultravisor, svm: Svm, portions: list[Portion[FrameSlot]], event: Event, deed: Deed
) -> Operation[list[Judgement]]:
    """Return the judgements of `settled` once secure memory has room for the GFNs that need `deed`."""
    for _ in range(ROUNDS):
        judgements = yield from settled(uv, svm, portions, event)
        pages = sum(int(np.count_nonzero(among(judgement.does, deed))) for judgement in judgements)
        if uv.has_room(pages):
            return judgements
        if not (yield from make_room(uv, pages)):
            break
    message = "secure memory is full"
    raise Unsettled(message)


def _in_hand(portion: Portion[FrameSlot]) -> bool:
    return bool(np.count_nonzero(portion.slot.in_flight(portion.chosen)))


def require_alive(svm: Svm) -> None:
    """Raise Unsettled where the SVM was terminated or aborted meanwhile."""
    if not svm.alive or svm.state is UvVmState.ABORT:
        message = "the SVM was terminated" if not svm.alive else "the SVM is aborted"
        raise Unsettled(message)


def require_registered(svm: Svm, portions: list[Portion[FrameSlot]]) -> None:
    """Raise Unsettled where a slot of `portions` was taken away meanwhile."""
    if any(svm.slots.get(portion.slot.slot_id) is not portion.slot for portion in portions):
        message = "a slot was taken away"
        raise Unsettled(message)


def fetch(uv: Ultravisor, svm: Svm, part: Portion[FrameSlot], flags: int) -> Operation[bool]:
    """Have the Hypervisor bring the GFNs of `part` back; raise Unsettled where it refuses.

    Return False where secure memory is full of pages that others have in hand: it is worth another try.
    """
    if part.slot.in_flight(part.chosen).any():
        return True
    part.slot.mark(part.chosen, WAITING)
    svm.open_calls += 1
    try:
        if flags == NONSHARED:
            if not (yield from make_room(uv, part.pages)):
                return False
            uv.promise(part)
        yield from page_in(svm.lpid, page_runs([part]), flags)
    except Refused as refusal:
        # An earlier call that we gave up on may have been done by now.
        if IS_AWAY[part.slot.state[part.chosen]].any():
            raise Unsettled(str(refusal)) from None
    finally:
        uv.redeem(part.slot, part.chosen)
        part.slot.unmark(part.chosen, WAITING)
        svm.open_calls -= 1
    return True


def any_of(judgements: list[Judgement], deed: Deed) -> bool:
    """Tell whether any GFN is judged to need `deed`."""
    return any(bool(np.count_nonzero(among(judgement.does, deed))) for judgement in judgements)


def picked(portions: list[Portion[FrameSlot]], masks: list[Mask]) -> list[Portion[FrameSlot]]:
    """Return the GFNs of `portions` that `masks` (one a portion, bool a page) pick."""
    parts = (narrowed(portion, mask) for portion, mask in zip(portions, masks, strict=True))
    return [part for part in parts if part is not None]
