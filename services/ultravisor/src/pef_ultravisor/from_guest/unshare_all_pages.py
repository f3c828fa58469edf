"""UV_UNSHARE_ALL_PAGES: an SVM takes back every page that it has shared itself, as before kexec.

What was granted is done. The GFNs that were refused stay shared, without a mapping until they are next used;
those that the Hypervisor was too busy for stay as they were.

Source: ultravisor.rst, UV_UNSHARE_ALL_PAGES; decisions on what a refusal means.
"""

from itertools import count
from typing import Final

from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.columns import gfn_set_of
from pef_kit.core.effects import Operation, Turn, pause
from pef_kit.core.runs import isin
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.ultracalls import UnshareAllPages
from pef_ultravisor import checks
from pef_ultravisor.checks import GuestCall
from pef_ultravisor.from_guest.unshare_page import commit_granted, reclaim, revert_not_begun
from pef_ultravisor.gfn.columns import GfnSets, count_pages, in_parts, picked
from pef_ultravisor.gfn.table import Action, Event
from pef_ultravisor.in_flight import in_flight
from pef_ultravisor.memory.normal_pages import advance
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.calls import Busy, Refused
from pef_ultravisor.to_hypervisor.faults import FaultBusy, FaultError, resolve_with_room

CHECKS: Final = CheckOrder[GuestCall[UnshareAllPages]](check_orders.UNSHARE_ALL_PAGES, checks.SECURE_ONLY)


def uv_unshare_all_pages(uv: Ultravisor, caller: Caller, asked: UnshareAllPages) -> Operation[Reply]:
    """Answer UV_UNSHARE_ALL_PAGES."""
    # parameters
    call = GuestCall(uv, caller, asked)

    # checks
    refused = CHECKS.first_failing(call)
    if refused:
        return refuse(refused)
    svm = call.svm

    # effect
    everything = [gfn_set_of(slot, 0, slot.count) for slot in reversed(list(svm.slots))]
    try:
        for place, part in enumerate(in_parts(everything)):
            # Order: what a refused part leaves is as it was, and the parts before it are done.
            if place:
                yield Turn()
            yield from unshare_all(uv, svm, part)
    except FaultBusy as reason:
        return Reply(UCode.U_BUSY, detail=str(reason))
    except FaultError as reason:
        return Reply(UCode.U_RETRY, detail=str(reason))

    # reply
    return Reply(UCode.U_SUCCESS)


def unshare_all(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets) -> Operation[None]:
    """Take back every GFN of `gfn_sets` that the SVM shared itself; raise FaultError at a refusal."""
    for attempt in count():
        judgements = yield from resolve_with_room(uv, svm, gfn_sets, Event.UNSHARE_ALL, Action.REQUEST_CHANGE)
        shared = picked(gfn_sets, [isin(each.action, Action.REQUEST_CHANGE) for each in judgements])
        asked: GfnSets = []
        with in_flight(uv, svm, 0, shared, room=count_pages(shared)):
            advance(uv.normal_pages, shared, Event.UNSHARE_ALL)
            try:
                for asked in [[part] for part in shared]:
                    yield from reclaim(uv, svm, asked)
            except Busy as reason:
                commit_granted(uv, asked, reason)
                revert_not_begun(uv, shared)
                busy = reason
            except (Refused, FaultError) as reason:
                commit_granted(uv, asked, reason)
                advance(uv.normal_pages, shared, Event.REVERT_UNSHARE)
                raise FaultError(str(reason)) from None
            else:
                return
        if not (yield from pause(attempt)):
            raise FaultBusy(str(busy))
