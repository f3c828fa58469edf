"""UV_SHARE_PAGE: an SVM shares pages with the Hypervisor. A page changes its owner, and is zero when it does.

The GFN is HV_SHARING until the Hypervisor offers a normal page (HV_SHARED) inside our H_SVM_PAGE_IN(shared);
then the page is zeroed and mapped, all GFNs of a part together. A refusal puts every GFN back as it was,
contents included: the frame is scrubbed only once the share is certain.

GFNs that are shared already are zeroed at the end, and are in flight until then. Where the Hypervisor is busy
everything is put back and released; the call begins anew after a pause. UV_ESM shares pages of its own alike.

Source: ultravisor.rst, UV_SHARE_PAGE; specification of the Ultravisor 2.3, minus D6-D8, D10, D11, D13;
decisions on shares that are refused or withdrawn.
"""

from itertools import count
from typing import Final, Literal

import numpy as np

from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation, PeerFailure, Turn, pause
from pef_kit.core.runs import isin
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import SharePage
from pef_ultravisor import checks
from pef_ultravisor.checks import RangeCall
from pef_ultravisor.gfn.columns import (
    BUSY,
    IMPORTED,
    GfnSets,
    count_pages,
    in_parts,
    in_state,
    normal_pages_of,
    page_runs,
    picked,
)
from pef_ultravisor.gfn.table import Action, Event
from pef_ultravisor.in_flight import in_flight
from pef_ultravisor.memory.copy import zero_normal
from pef_ultravisor.memory.normal_pages import advance
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.calls import NONSHARED, SHARED, Busy, Refused, page_in, request
from pef_ultravisor.to_hypervisor.faults import FaultBusy, FaultError, require_running, resolve_fault

Commit = Literal[Event.COMMIT_SHARED, Event.COMMIT_IMPLICIT, Event.COMMIT_PSEUDO]
"""How a page is shared: the event that commits it."""

CHECKS: Final = CheckOrder[RangeCall[SharePage]](check_orders.SHARE_PAGE, checks.RANGE)


def uv_share_page(uv: Ultravisor, caller: Caller, asked: SharePage) -> Operation[Reply]:
    """Answer UV_SHARE_PAGE."""
    # parameters
    call = RangeCall(uv, caller, asked)

    # checks
    refused = CHECKS.first_failing(call)
    if refused:
        return refuse(refused)
    svm = call.svm

    # effect
    try:
        for place, part in enumerate(in_parts(call.gfn_sets)):
            # Order: what a refused part leaves is as it was, and the parts before it are done.
            if place:
                yield Turn()
            yield from share(uv, svm, part, Event.COMMIT_SHARED)
    except FaultBusy as reason:
        return Reply(UCode.U_BUSY, detail=str(reason))
    except FaultError as reason:
        return Reply(UCode.U_P2, detail=str(reason))

    # reply
    return Reply(UCode.U_SUCCESS)


def share(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, commit: Commit) -> Operation[None]:
    """Share the GFNs of `gfn_sets`; raise FaultError, with everything as it was, where that can't be."""
    for attempt in count():
        judgements = yield from resolve_fault(uv, svm, gfn_sets, Event.SHARE)
        fresh = picked(gfn_sets, [isin(each.action, Action.REQUEST_CHANGE) for each in judgements])
        already = picked(gfn_sets, [isin(each.action, Action.ZERO) for each in judgements])
        with in_flight(uv, svm, 0, fresh, room=count_pages(fresh)):
            try:
                with in_flight(uv, svm, BUSY, already, pages=normal_pages_of(already)):
                    advance(uv.normal_pages, fresh, Event.SHARE)
                    yield from request_pages(svm, fresh)
                    yield from zero_pages(uv, svm, in_state(fresh, S.HV_SHARED), already)
                    require_running(svm)
            except (Refused, PeerFailure, FaultError) as reason:
                yield from revert(uv, svm, fresh)
                refusal = reason
            else:
                advance(uv.normal_pages, fresh, commit)
                return
        if not isinstance(refusal, Busy):
            raise FaultError(str(refusal))
        if not (yield from pause(attempt)):
            raise FaultBusy(str(refusal))


def request_pages(svm: Svm, fresh: GfnSets) -> Operation[None]:
    """Have the Hypervisor offer a normal page for each GFN; one that says so and doesn't ends the SVM."""
    if not fresh:
        return
    yield from page_in(svm, page_runs(fresh), SHARED)
    require_running(svm)
    if in_state(fresh, S.HV_SHARING):
        svm.state = UvVmState.ABORT
        message = "the Hypervisor says that it shared a page, and offered none: the SVM is aborted"
        raise FaultError(message)


def zero_pages(uv: Ultravisor, svm: Svm, offered: GfnSets, already: GfnSets) -> Operation[None]:
    """Zero the normal pages behind all these GFNs, which nobody takes away meanwhile.

    Those that were shared `already` are in flight by now.
    """
    with in_flight(uv, svm, BUSY, offered, pages=normal_pages_of(offered)):
        for gfns in offered + already:
            yield from zero_normal(gfns, gfns.slot.normal[gfns.selection].astype(np.int64))


def revert(uv: Ultravisor, svm: Svm, fresh: GfnSets) -> Operation[None]:
    """Undo a share: every GFN is secure again on its frame, which still holds what it held.

    During UV_ESM the Hypervisor has thereby given pages that nobody imported; it gets them back as zeroes.
    """
    if svm.state is UvVmState.ABORT:
        advance(uv.normal_pages, fresh, Event.ABORT_SHARE)
        return
    advance(uv.normal_pages, fresh, Event.REVERT_SHARE)
    granted = in_state(fresh, S.HV_UNSHARING, S.HV_UNSHARING_INV)
    if not granted:
        return
    try:
        wanted = SvmPageIn(svm.lpid, page_runs(granted), NONSHARED, PAGE_ORDER)
        yield from request(svm, "H_SVM_PAGE_IN", wanted, ignore_deadline=True)
        require_running(svm)
    except (Refused, FaultError) as refusal:
        svm.state = UvVmState.ABORT  # its pages keep their bytes and stay out of reach
        advance(uv.normal_pages, granted, Event.ABORT_SHARE)
        message = f"the Hypervisor keeps a page whose share failed: the SVM is aborted ({refusal})"
        raise FaultError(message) from None
    advance(uv.normal_pages, granted, Event.UNSHARE_GRANTED)
    advance(uv.normal_pages, granted, Event.COMMIT_UNSHARE)
    for part in () if svm.whole else granted:
        part.slot.mark(part.selection, IMPORTED)
