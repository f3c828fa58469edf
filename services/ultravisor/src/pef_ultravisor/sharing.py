"""Sharing and unsharing: a page changes its owner, and is zero when it does, both ways.

A share: the GFN is HV_SHARING until the Hypervisor offers a normal page (HV_SHARED) inside our
H_SVM_PAGE_IN(shared); then the page is zeroed and mapped, all GFNs of the call together. A refusal puts every
GFN back as it was, contents included: the frame is scrubbed only once the share is certain.

An unshare goes the other way. The frame of a shared GFN is zero already, so that is what the SVM finds.

Source: ultravisor.rst, UV_SHARE_PAGE, UV_UNSHARE_PAGE; specification of the Ultravisor 2.3, minus D6-D8, D10,
D11, D13; decisions on shares that are refused or withdrawn.
"""

from enum import Enum

import numpy as np

from pef_kit.columns import Portion
from pef_kit.operations import Operation, PeerFailure
from pef_kit.spans import I64, among
from pef_kit.transitions import Judgement
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.faults import Unsettled, picked, require_alive, settled, settled_with_room
from pef_ultravisor.frames import IMPORTED, MOVING, FrameSlot, Svm, page_runs
from pef_ultravisor.lifecycle import GFN, Deed, Event
from pef_ultravisor.machine import Ultravisor
from pef_ultravisor.requests import NONSHARED, SHARED, Refused, page_in, pages_of
from pef_ultravisor.transfers import Pages, zeroing

Portions = list[Portion[FrameSlot]]


class Kind(Enum):
    """How a page is shared: the event that commits it."""

    EXPLICIT = Event.COMMIT_SHARED
    IMPLICIT = Event.COMMIT_IMPLICIT
    PSEUDO = Event.COMMIT_PSEUDO


def offsets_of(portion: Portion[FrameSlot]) -> I64:
    """Return the places of a portion's GFNs in its slot (int64, one a page)."""
    return portion.places()


def pages_in(portions: Portions) -> int:
    """Count the GFNs of `portions`."""
    return sum(part.pages for part in portions)


def in_state(portions: Portions, *states: S) -> Portions:
    """Return the GFNs of `portions` that are in one of `states`."""
    return picked(portions, [among(part.slot.state[part.chosen], *states) for part in portions])


def advance(uv: Ultravisor, portions: Portions, event: Event) -> None:
    """Apply an event to every GFN of `portions`, with the deeds that need no yield."""
    for portion in portions:
        slot, offsets = portion.slot, offsets_of(portion)
        judgement = GFN.judge(event, slot.state[offsets])
        lost = offsets[among(judgement.does, Deed.UNMAP)]
        if len(lost):
            uv.normal_pages.give_back(slot.normal[lost])
            slot.normal[lost] = 0
        slot.scrub(offsets[among(judgement.does, Deed.SCRUB)])
        slot.state[offsets] = judgement.then


def _pages(portions: Portions, judgements: list[Judgement], deed: Deed) -> Portions:
    return picked(portions, [among(judgement.does, deed) for judgement in judgements])


def share(uv: Ultravisor, svm: Svm, portions: Portions, kind: Kind) -> Operation[None]:
    """Share the GFNs of `portions`; raise Unsettled, with everything as it was, where that can't be."""
    fresh: Portions = []
    kept = 0
    svm.open_calls += 1
    try:
        judgements = yield from settled(uv, svm, portions, Event.SHARE)
        fresh = _pages(portions, judgements, Deed.ASK)
        already = _pages(portions, judgements, Deed.ZERO)
        advance(uv, fresh, Event.SHARE)
        kept = pages_in(fresh)
        uv.promised += kept
        if fresh:
            yield from _offer(uv, svm, fresh)
            yield from _mapped_again(uv, svm, fresh, already)
        yield from _zero(svm, in_state(fresh, S.HV_SHARED) + in_state(already, S.SHARED))
        _require_running(uv, svm, fresh)
        advance(uv, fresh, kind.value)
    except PeerFailure as failure:
        yield from _take_back(uv, svm, fresh)
        raise Unsettled(str(failure)) from None
    finally:
        uv.promised -= kept
        svm.open_calls -= 1


def _require_running(uv: Ultravisor, svm: Svm, fresh: Portions) -> None:
    """Raise Unsettled where the SVM ended meanwhile; then no GFN stays in a transient state."""
    if svm.alive and svm.state is UvVmState.ABORT:
        advance(uv, fresh, Event.ABORT_SHARE)
    require_alive(svm)


def _offer(uv: Ultravisor, svm: Svm, fresh: Portions) -> Operation[None]:
    """Have the Hypervisor offer a normal page for each GFN, or take the share back."""
    try:
        yield from page_in(svm.lpid, page_runs(fresh), SHARED)
    except Refused as refusal:
        yield from _take_back(uv, svm, fresh)
        raise Unsettled(str(refusal)) from None
    _require_running(uv, svm, fresh)
    if in_state(fresh, S.HV_SHARING):
        abort(uv, svm, fresh, Event.ABORT_SHARE)
        message = "the Hypervisor says that it shared a page, and offered none: the SVM is aborted"
        raise Unsettled(message)


def _mapped_again(uv: Ultravisor, svm: Svm, fresh: Portions, already: Portions) -> Operation[None]:
    """Bring back those pages, shared before the call, that were withdrawn during it: they are zeroed, too."""
    try:
        yield from settled(uv, svm, already, Event.SHARE)
    except Unsettled:
        _require_running(uv, svm, fresh)
        yield from _take_back(uv, svm, fresh)
        raise


def _take_back(uv: Ultravisor, svm: Svm, fresh: Portions) -> Operation[None]:
    """Undo a share: every GFN is secure again on its frame, which still holds what it held.

    During UV_ESM the Hypervisor has thereby given pages that nobody imported; it gets them back as zeroes.
    """
    if not svm.alive:
        return
    advance(uv, fresh, Event.REVERT_SHARE)
    granted = in_state(fresh, S.HV_UNSHARING, S.HV_UNSHARING_INV)
    if not granted:
        return
    try:
        yield from page_in(svm.lpid, page_runs(granted), NONSHARED)
    except Refused as refusal:
        abort(uv, svm, granted, Event.ABORT_SHARE)
        message = f"the Hypervisor keeps a page whose share failed: the SVM is aborted ({refusal})"
        raise Unsettled(message) from None
    if svm.alive:
        advance(uv, granted, Event.UNSHARE_GRANTED)
        advance(uv, granted, Event.COMMIT_UNSHARE)
        for part in () if svm.whole else granted:
            part.slot.mark(part.chosen, IMPORTED)


def _zero(svm: Svm, portions: Portions) -> Operation[None]:
    """Zero the normal pages behind the GFNs of `portions`, which nobody takes away meanwhile."""
    for portion in portions:
        portion.slot.mark(portion.chosen, MOVING)
    try:
        for portion in portions:
            slot, offsets = portion.slot, offsets_of(portion)
            addresses = slot.normal[offsets].astype(np.int64)
            if svm.alive:
                yield zeroing(Pages(slot, offsets, addresses))
    finally:
        for portion in portions:
            portion.slot.unmark(portion.chosen, MOVING)


def unshare(uv: Ultravisor, svm: Svm, portions: Portions) -> Operation[None]:
    """Take the GFNs of `portions` back, zero; raise Unsettled where they can't be.

    A Hypervisor that keeps a page it no longer has a right to ends the SVM.
    """
    promised = 0
    svm.open_calls += 1
    try:
        judgements = yield from settled_with_room(uv, svm, portions, Event.UNSHARE, Deed.ASK)
        shared = _pages(portions, judgements, Deed.ASK)
        for part in _pages(portions, judgements, Deed.SCRUB):
            part.slot.scrub(offsets_of(part))
        advance(uv, shared, Event.UNSHARE)
        promised = pages_in(shared)
        uv.promised += promised
        try:
            yield from _reclaim(uv, svm, shared)
        except Refused as refusal:
            abort(uv, svm, shared, Event.REVERT_UNSHARE)
            message = f"the Hypervisor keeps a shared page: the SVM is aborted ({refusal})"
            raise Unsettled(message) from None
        require_alive(svm)
    finally:
        uv.promised -= promised
        svm.open_calls -= 1


def unshare_all(uv: Ultravisor, svm: Svm, portions: Portions) -> Operation[None]:
    """Take back every GFN of `portions` that the SVM shared itself; raise Unsettled at a refusal.

    What was granted is done. The GFNs that were refused stay shared, without a mapping until they are next
    used; so do all where the Hypervisor did not answer.
    """
    promised = 0
    svm.open_calls += 1
    try:
        judgements = yield from settled_with_room(uv, svm, portions, Event.UNSHARE_ALL, Deed.ASK)
        shared = _pages(portions, judgements, Deed.ASK)
        advance(uv, shared, Event.UNSHARE_ALL)
        promised = pages_in(shared)
        uv.promised += promised
        for place, part in enumerate(shared):
            try:
                yield from _reclaim(uv, svm, [part])
                require_alive(svm)
            except (Refused, Unsettled) as reason:
                if svm.alive:
                    _commit_granted(uv, part, reason)
                    advance(uv, shared[place:], Event.REVERT_UNSHARE)
                raise Unsettled(str(reason)) from None
    finally:
        uv.promised -= promised
        svm.open_calls -= 1


def _reclaim(uv: Ultravisor, svm: Svm, shared: Portions) -> Operation[None]:
    """Have the Hypervisor give pages up, and make them secure and zero; raise Refused where it doesn't."""
    if not shared:
        return
    yield from page_in(svm.lpid, page_runs(shared), NONSHARED)
    if svm.alive:
        advance(uv, shared, Event.UNSHARE_GRANTED)
        advance(uv, shared, Event.COMMIT_UNSHARE)


def _commit_granted(uv: Ultravisor, part: Portion[FrameSlot], reason: Exception) -> None:
    """Make those GFNs of `part` secure that the Hypervisor gave up although it kept others."""
    if not isinstance(reason, Refused) or reason.runs is None:
        return
    given_up = ~np.isin(part.gfns() << PAGE_ORDER, pages_of(reason.runs))
    granted = picked([part], [given_up])
    advance(uv, granted, Event.UNSHARE_GRANTED)
    advance(uv, granted, Event.COMMIT_UNSHARE)


def abort(uv: Ultravisor, svm: Svm, portions: Portions, event: Event) -> None:
    """Abort an SVM in whose open call the Hypervisor broke the protocol: it never runs again.

    Its pages keep their bytes and stay out of reach; `event` takes the GFNs of `portions` out of their
    transient states.
    """
    if svm.alive:
        svm.state = UvVmState.ABORT
        advance(uv, portions, event)
