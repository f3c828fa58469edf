"""Sharing and unsharing: a page changes its owner, and is zero when it does, both ways.

A share: the GFN is HV_SHARING until the Hypervisor offers a normal page (HV_SHARED) inside our
H_SVM_PAGE_IN(shared); then the page is zeroed and mapped, all GFNs of the call together. A refusal puts every
GFN back as it was, contents included: the frame is scrubbed only once the share is certain.

An unshare goes the other way. The frame of a shared GFN is zero already, so that is what the SVM finds.

GFNs of a call that need no change of owner are zeroed at its end, and are in flight until then. Where the
Hypervisor is busy everything is put back and let go of; the call begins anew after a pause.

Source: ultravisor.rst, UV_SHARE_PAGE, UV_UNSHARE_PAGE; specification of the Ultravisor 2.3, minus D6-D8, D10,
D11, D13; decisions on shares that are refused or withdrawn.
"""

from collections.abc import Iterator
from enum import Enum
from itertools import count

import numpy as np

from pef_kit.columns import GfnSet, gfn_set_of
from pef_kit.operations import Operation, Pause, PeerFailure
from pef_kit.spans import I64, among
from pef_kit.transitions import Judgement
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.wire import PAGES_AT_ONCE
from pef_ultravisor.gfn.columns import FILLED, IMPORTED, MOVING, FrameSlot, Svm, page_runs
from pef_ultravisor.gfn.table import GFN, Deed, Event
from pef_ultravisor.memory.copy import Pages, zeroing
from pef_ultravisor.memory.in_flight import chosen_in, in_flight, normal_pages_of
from pef_ultravisor.state import Ultravisor
from pef_ultravisor.to_hypervisor.calls import NONSHARED, SHARED, Busy, Refused, page_in, pages_of, request
from pef_ultravisor.to_hypervisor.faults import (
    InHand,
    Unsettled,
    picked,
    require_running,
    settled,
    settled_with_room,
)

GfnSets = list[GfnSet[FrameSlot]]


class Kind(Enum):
    """How a page is shared: the event that commits it."""

    EXPLICIT = Event.COMMIT_SHARED
    IMPLICIT = Event.COMMIT_IMPLICIT
    PSEUDO = Event.COMMIT_PSEUDO


def offsets_of(gfns: GfnSet[FrameSlot]) -> I64:
    """Return the places of a set's GFNs in its slot (int64, one a page)."""
    return gfns.each_offset()


def pages_in(gfn_sets: GfnSets) -> int:
    """Count the GFNs of `gfn_sets`."""
    return sum(part.pages for part in gfn_sets)


def in_parts(gfn_sets: GfnSets) -> Iterator[GfnSets]:
    """Yield the GFNs of `gfn_sets` in parts that the event loop can treat at once; few are one part."""
    if pages_in(gfn_sets) <= PAGES_AT_ONCE:
        yield gfn_sets
        return
    for gfns in gfn_sets:
        start, count = int(gfns.offsets[0]), gfns.pages
        for first in range(0, count, PAGES_AT_ONCE):
            yield [gfn_set_of(gfns.slot, start + first, min(PAGES_AT_ONCE, count - first))]


def in_state(gfn_sets: GfnSets, *states: S) -> GfnSets:
    """Return the GFNs of `gfn_sets` that are in one of `states`."""
    return picked(gfn_sets, [among(part.slot.state[part.selection], *states) for part in gfn_sets])


def advance(uv: Ultravisor, gfn_sets: GfnSets, event: Event) -> None:
    """Apply an event to every GFN of `gfn_sets`, with the deeds that need no yield."""
    for gfns in gfn_sets:
        slot, chosen = gfns.slot, gfns.selection
        judgement = GFN.judge(event, slot.state[chosen])
        lost = among(judgement.does, Deed.UNMAP)
        if np.count_nonzero(lost):
            offsets = offsets_of(gfns)[lost]
            uv.normal_pages.give_back(slot.normal[offsets])
            slot.normal[offsets] = 0
        filled = among(judgement.does, Deed.SCRUB) & slot.marked(chosen, FILLED)
        if np.count_nonzero(filled):
            slot.scrub(offsets_of(gfns)[filled])
        slot.put(chosen, judgement.then)


def _pages(gfn_sets: GfnSets, judgements: list[Judgement], deed: Deed) -> GfnSets:
    return picked(gfn_sets, [among(judgement.does, deed) for judgement in judgements])


def share(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, kind: Kind) -> Operation[None]:
    """Share the GFNs of `gfn_sets`; raise Unsettled, with everything as it was, where that can't be."""
    for attempt in count():
        judgements = yield from settled(uv, svm, gfn_sets, Event.SHARE)
        fresh = _pages(gfn_sets, judgements, Deed.ASK)
        already = _pages(gfn_sets, judgements, Deed.ZERO)
        with in_flight(uv, svm, 0, chosen_in(fresh), room=pages_in(fresh)):
            try:
                yield from _offered_and_zero(uv, svm, fresh, already)
            except (Refused, PeerFailure, Unsettled) as reason:
                yield from _take_back(uv, svm, fresh)
                refusal = reason
            else:
                advance(uv, fresh, kind.value)
                return
        if not isinstance(refusal, Busy):
            raise Unsettled(str(refusal))
        if not (yield Pause(attempt)):
            raise InHand(str(refusal))


def _offered_and_zero(uv: Ultravisor, svm: Svm, fresh: GfnSets, already: GfnSets) -> Operation[None]:
    """Have a normal page offered for each of `fresh`, and all the pages zeroed."""
    with in_flight(uv, svm, MOVING, chosen_in(already), pages=normal_pages_of(already)):
        advance(uv, fresh, Event.SHARE)
        yield from _offer(svm, fresh)
        yield from _zero(uv, svm, in_state(fresh, S.HV_SHARED), already)
        require_running(svm)


def _offer(svm: Svm, fresh: GfnSets) -> Operation[None]:
    """Have the Hypervisor offer a normal page for each GFN; one that says so and doesn't ends the SVM."""
    if not fresh:
        return
    yield from page_in(svm, page_runs(fresh), SHARED)
    require_running(svm)
    if in_state(fresh, S.HV_SHARING):
        svm.state = UvVmState.ABORT
        message = "the Hypervisor says that it shared a page, and offered none: the SVM is aborted"
        raise Unsettled(message)


def _take_back(uv: Ultravisor, svm: Svm, fresh: GfnSets) -> Operation[None]:
    """Undo a share: every GFN is secure again on its frame, which still holds what it held.

    During UV_ESM the Hypervisor has thereby given pages that nobody imported; it gets them back as zeroes.
    """
    if svm.state is UvVmState.ABORT:
        advance(uv, fresh, Event.ABORT_SHARE)
        return
    advance(uv, fresh, Event.REVERT_SHARE)
    granted = in_state(fresh, S.HV_UNSHARING, S.HV_UNSHARING_INV)
    if not granted:
        return
    try:
        wanted = SvmPageIn(svm.lpid, page_runs(granted), NONSHARED, PAGE_ORDER)
        yield from request(svm, "H_SVM_PAGE_IN", wanted, patient=True)
        require_running(svm)
    except (Refused, Unsettled) as refusal:
        abort(uv, svm, granted, Event.ABORT_SHARE)
        message = f"the Hypervisor keeps a page whose share failed: the SVM is aborted ({refusal})"
        raise Unsettled(message) from None
    advance(uv, granted, Event.UNSHARE_GRANTED)
    advance(uv, granted, Event.COMMIT_UNSHARE)
    for part in () if svm.whole else granted:
        part.slot.mark(part.selection, IMPORTED)


def _zero(uv: Ultravisor, svm: Svm, offered: GfnSets, already: GfnSets) -> Operation[None]:
    """Zero the normal pages behind all these GFNs, which nobody takes away meanwhile.

    Those that were shared `already` are in flight by now.
    """
    with in_flight(uv, svm, MOVING, chosen_in(offered), pages=normal_pages_of(offered)):
        for gfns in offered + already:
            offsets = offsets_of(gfns)
            addresses = gfns.slot.normal[offsets].astype(np.int64)
            for some in Pages(gfns.slot, offsets, addresses).batches():
                yield zeroing(some)


def unshare(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets) -> Operation[None]:
    """Take the GFNs of `gfn_sets` back, zero; raise Unsettled where they can't be.

    A Hypervisor that keeps a page it no longer has a right to ends the SVM.
    """
    for attempt in count():
        judgements = yield from settled_with_room(uv, svm, gfn_sets, Event.UNSHARE, Deed.ASK)
        shared = _pages(gfn_sets, judgements, Deed.ASK)
        secure = _pages(gfn_sets, judgements, Deed.SCRUB)
        changing = [part.slot for part in shared]
        with in_flight(uv, svm, MOVING, chosen_in(secure), changing=changing, room=pages_in(shared)):
            advance(uv, shared, Event.UNSHARE)
            try:
                yield from _reclaim(uv, svm, shared)
            except Busy as reason:
                _commit_granted(uv, shared, reason)
                _not_begun(uv, shared)
                busy = reason
            except (Refused, Unsettled) as refusal:
                abort(uv, svm, shared, Event.REVERT_UNSHARE)
                message = f"the Hypervisor keeps a shared page: the SVM is aborted ({refusal})"
                raise Unsettled(message) from None
            else:
                for part in secure:
                    part.slot.scrub(offsets_of(part))
                return
        if not (yield Pause(attempt)):
            raise InHand(str(busy))


def unshare_all(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets) -> Operation[None]:
    """Take back every GFN of `gfn_sets` that the SVM shared itself; raise Unsettled at a refusal.

    What was granted is done. The GFNs that were refused stay shared, without a mapping until they are next
    used; those that the Hypervisor was too busy for stay as they were.
    """
    for attempt in count():
        judgements = yield from settled_with_room(uv, svm, gfn_sets, Event.UNSHARE_ALL, Deed.ASK)
        shared = _pages(gfn_sets, judgements, Deed.ASK)
        asked: GfnSets = []
        with in_flight(uv, svm, 0, chosen_in(shared), room=pages_in(shared)):
            advance(uv, shared, Event.UNSHARE_ALL)
            try:
                for asked in [[part] for part in shared]:
                    yield from _reclaim(uv, svm, asked)
            except Busy as reason:
                _commit_granted(uv, asked, reason)
                _not_begun(uv, shared)
                busy = reason
            except (Refused, Unsettled) as reason:
                _commit_granted(uv, asked, reason)
                advance(uv, shared, Event.REVERT_UNSHARE)
                raise Unsettled(str(reason)) from None
            else:
                return
        if not (yield Pause(attempt)):
            raise InHand(str(busy))


def _reclaim(uv: Ultravisor, svm: Svm, shared: GfnSets) -> Operation[None]:
    """Have the Hypervisor give pages up, and make them secure and zero; raise Refused where it doesn't."""
    if not shared:
        return
    yield from page_in(svm, page_runs(shared), NONSHARED)
    require_running(svm)
    advance(uv, shared, Event.UNSHARE_GRANTED)
    advance(uv, shared, Event.COMMIT_UNSHARE)


def _not_begun(uv: Ultravisor, shared: GfnSets) -> None:
    """Let those GFNs of `shared` be shared as before that the Hypervisor did not give up."""
    mapped = [part.slot.normal[part.selection] != 0 for part in shared]
    advance(uv, picked(shared, mapped), Event.UNSHARE_BUSY)
    advance(uv, shared, Event.REVERT_UNSHARE)


def _commit_granted(uv: Ultravisor, asked: GfnSets, reason: Refused | Unsettled) -> None:
    """Make those GFNs of `asked` secure that the Hypervisor gave up although it kept others."""
    runs = reason.runs if isinstance(reason, Refused) else None
    if runs is None:
        return
    kept = pages_of(runs)
    granted = picked(asked, [~np.isin(part.each_gfn() << PAGE_ORDER, kept) for part in asked])
    advance(uv, granted, Event.UNSHARE_GRANTED)
    advance(uv, granted, Event.COMMIT_UNSHARE)


def abort(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, event: Event) -> None:
    """Abort an SVM in whose open call the Hypervisor broke the protocol: it never runs again.

    Its pages keep their bytes and stay out of reach; `event` takes the GFNs of `gfn_sets` out of their
    transient states.
    """
    svm.state = UvVmState.ABORT
    advance(uv, gfn_sets, event)
