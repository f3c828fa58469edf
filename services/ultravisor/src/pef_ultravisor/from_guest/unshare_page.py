"""UV_UNSHARE_PAGE: an SVM takes shared pages back, zero.

The Hypervisor is asked for them by H_SVM_PAGE_IN. The frame of a shared GFN is zero already, so that is what
the SVM finds. A Hypervisor that keeps a page it no longer has a right to ends the SVM.

Source: ultravisor.rst, UV_UNSHARE_PAGE; specification of the Ultravisor 2.3, minus D6-D8, D10, D11, D13;
decisions on what a refusal means.
"""

from itertools import count
from typing import Final

import numpy as np

from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation, Turn, pause
from pef_kit.core.runs import isin
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import UnsharePage
from pef_ultravisor import checks
from pef_ultravisor.checks import RangeCall
from pef_ultravisor.gfn.columns import BUSY, GfnSets, count_pages, in_parts, page_runs, picked
from pef_ultravisor.gfn.table import Action, Event
from pef_ultravisor.in_flight import in_flight
from pef_ultravisor.memory.normal_pages import advance
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.calls import NONSHARED, Busy, Refused, page_in, pages_of
from pef_ultravisor.to_hypervisor.faults import FaultBusy, FaultError, require_running, resolve_with_room

KEPT_SHARED: Final = (
    S.SHARED_IMPLICIT,
    S.SHARED_IMPLICIT_INV,
    S.PSEUDO_SHARED,
    S.PSEUDO_SHARED_INV,
)
"""Pages that the Ultravisor shares for its own use: the SVM can't take them back."""


def none_kept_shared(call: RangeCall[UnsharePage]) -> bool:
    """Pass where no frame is implicitly or pseudo-shared."""
    return not any(
        bool(isin(part.slot.state[block], *KEPT_SHARED).any())
        for part in call.gfn_sets
        for block in part.slot.blocks_of(slice(int(part.offsets[0]), int(part.offsets[0]) + part.pages))
        if part.slot.absent and part.slot.state[block].any()
    )


CHECKS: Final = CheckOrder[RangeCall[UnsharePage]](
    check_orders.UNSHARE_PAGE, {**checks.RANGE, "state": none_kept_shared}
)


def uv_unshare_page(uv: Ultravisor, caller: Caller, asked: UnsharePage) -> Operation[Reply]:
    """Answer UV_UNSHARE_PAGE."""
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
            yield from unshare(uv, svm, part)
    except FaultBusy as reason:
        return Reply(UCode.U_BUSY, detail=str(reason))
    except FaultError as reason:
        return Reply(UCode.U_P2, detail=str(reason))

    # reply
    return Reply(UCode.U_SUCCESS)


def unshare(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets) -> Operation[None]:
    """Take the GFNs of `gfn_sets` back, zero; raise FaultError where they can't be."""
    for attempt in count():
        judgements = yield from resolve_with_room(uv, svm, gfn_sets, Event.UNSHARE, Action.REQUEST_CHANGE)
        shared = picked(gfn_sets, [isin(each.action, Action.REQUEST_CHANGE) for each in judgements])
        secure = picked(gfn_sets, [isin(each.action, Action.SCRUB) for each in judgements])
        changing = [part.slot for part in shared]
        with in_flight(uv, svm, BUSY, secure, changing=changing, room=count_pages(shared)):
            advance(uv.normal_pages, shared, Event.UNSHARE)
            try:
                yield from reclaim(uv, svm, shared)
            except Busy as reason:
                commit_granted(uv, shared, reason)
                revert_not_begun(uv, shared)
                busy = reason
            except (Refused, FaultError) as refusal:
                svm.state = UvVmState.ABORT  # its pages keep their bytes and stay out of reach
                advance(uv.normal_pages, shared, Event.REVERT_UNSHARE)
                message = f"the Hypervisor keeps a shared page: the SVM is aborted ({refusal})"
                raise FaultError(message) from None
            else:
                for part in secure:
                    part.slot.scrub(part.each_offset())
                return
        if not (yield from pause(attempt)):
            raise FaultBusy(str(busy))


def reclaim(uv: Ultravisor, svm: Svm, shared: GfnSets) -> Operation[None]:
    """Have the Hypervisor give pages up, and make them secure and zero; raise Refused where it doesn't."""
    if not shared:
        return
    yield from page_in(svm, page_runs(shared), NONSHARED)
    require_running(svm)
    advance(uv.normal_pages, shared, Event.UNSHARE_GRANTED)
    advance(uv.normal_pages, shared, Event.COMMIT_UNSHARE)


def revert_not_begun(uv: Ultravisor, shared: GfnSets) -> None:
    """Let those GFNs of `shared` be shared as before that the Hypervisor did not give up."""
    mapped = [part.slot.normal[part.selection] != 0 for part in shared]
    advance(uv.normal_pages, picked(shared, mapped), Event.UNSHARE_BUSY)
    advance(uv.normal_pages, shared, Event.REVERT_UNSHARE)


def commit_granted(uv: Ultravisor, asked: GfnSets, reason: Refused | FaultError) -> None:
    """Make those GFNs of `asked` secure that the Hypervisor gave up although it kept others."""
    runs = reason.runs if isinstance(reason, Refused) else None
    if runs is None:
        return
    kept = pages_of(runs)
    granted = picked(asked, [~np.isin(part.each_gfn() << PAGE_ORDER, kept) for part in asked])
    advance(uv.normal_pages, granted, Event.UNSHARE_GRANTED)
    advance(uv.normal_pages, granted, Event.COMMIT_UNSHARE)
