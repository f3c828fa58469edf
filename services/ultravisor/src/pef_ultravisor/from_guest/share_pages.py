"""UV_SHARE_PAGE, UV_UNSHARE_PAGE and UV_UNSHARE_ALL_PAGES: an SVM and the Hypervisor share pages.

Source: ultravisor.rst, the calls of these names; decisions on what a refusal means for each.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from pef_kit.columns import gfn_set_of
from pef_kit.ladder import Ladder
from pef_kit.operations import Operation, Turn
from pef_kit.spans import among
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import SharePage, UnshareAllPages, UnsharePage
from pef_protocol.wire import Caller
from pef_ultravisor.from_guest.guest_calls import SECURE_ONLY, GuestCall
from pef_ultravisor.sharing import GfnSets, Kind, in_parts, share, unshare, unshare_all
from pef_ultravisor.state import Ultravisor
from pef_ultravisor.to_hypervisor.faults import InHand, Unsettled

KEPT_SHARED: Final = (
    S.SHARED_IMPLICIT,
    S.SHARED_IMPLICIT_INV,
    S.PSEUDO_SHARED,
    S.PSEUDO_SHARED_INV,
)
"""Pages that the Ultravisor shares for its own use: the SVM can't take them back."""


def covered(call: GuestCall) -> GfnSets:
    """Return the GFNs that a call names, by slot; none where they do not all lie in slots."""
    gfn, num = call.asked.gfn, call.asked.num
    if call.svm is None or num > call.svm.slots.gfns:
        return []
    return call.svm.slots.covered(gfn, num) or []


def each_part(gfn_sets: GfnSets, do: Callable[[GfnSets], Operation[None]]) -> Operation[None]:
    """Do it to the GFNs that a call names, part by part; between two parts everybody else has a turn.

    Order: what a refused part leaves is as it was, and the parts before it are done.
    """
    for place, part in enumerate(in_parts(gfn_sets)):
        if place:
            yield Turn()
        yield from do(part)


def frame_in_a_slot(call: GuestCall) -> bool:
    """Pass where the first frame lies in a slot."""
    return call.svm is not None and call.svm.slots.holding(call.asked.gfn) is not None


def all_in_slots(call: GuestCall) -> bool:
    """Pass where all frames lie in slots."""
    return call.asked.num == 0 or bool(covered(call))


def none_kept_shared(call: GuestCall) -> bool:
    """Pass where no frame is implicitly or pseudo-shared."""
    return not any(
        bool(among(part.slot.state[block], *KEPT_SHARED).any())
        for part in covered(call)
        for block in part.slot.blocks_of(slice(int(part.offsets[0]), int(part.offsets[0]) + part.pages))
        if part.slot.away and part.slot.state[block].any()
    )


SHARE: Final = Ladder[GuestCall](
    ladders.SHARE_PAGE, {**SECURE_ONLY, "gfn": frame_in_a_slot, "num": all_in_slots}
)
UNSHARE: Final = Ladder[GuestCall](
    ladders.UNSHARE_PAGE,
    {**SECURE_ONLY, "gfn": frame_in_a_slot, "num": all_in_slots, "state": none_kept_shared},
)
UNSHARE_ALL: Final = Ladder[GuestCall](ladders.UNSHARE_ALL_PAGES, SECURE_ONLY)


def uv_share_page(uv: Ultravisor, caller: Caller, asked: SharePage) -> Operation[Reply]:
    """Answer UV_SHARE_PAGE."""
    # parameters
    call = GuestCall(uv, caller, asked)

    # checks
    refused = SHARE.climb(call)
    if refused or call.svm is None:
        return Reply(refused.code if refused else UCode.U_INVALID)

    # effect
    try:
        yield from each_part(covered(call), partial(share, uv, call.svm, kind=Kind.EXPLICIT))
    except InHand as reason:
        return Reply(UCode.U_BUSY, detail=str(reason))
    except Unsettled as reason:
        return Reply(UCode.U_P2, detail=str(reason))

    # reply
    return Reply(UCode.U_SUCCESS)


def uv_unshare_page(uv: Ultravisor, caller: Caller, asked: UnsharePage) -> Operation[Reply]:
    """Answer UV_UNSHARE_PAGE."""
    # parameters
    call = GuestCall(uv, caller, asked)

    # checks
    refused = UNSHARE.climb(call)
    if refused or call.svm is None:
        return Reply(refused.code if refused else UCode.U_INVALID)

    # effect
    try:
        yield from each_part(covered(call), partial(unshare, uv, call.svm))
    except InHand as reason:
        return Reply(UCode.U_BUSY, detail=str(reason))
    except Unsettled as reason:
        return Reply(UCode.U_P2, detail=str(reason))

    # reply
    return Reply(UCode.U_SUCCESS)


def uv_unshare_all_pages(uv: Ultravisor, caller: Caller, asked: UnshareAllPages) -> Operation[Reply]:
    """Answer UV_UNSHARE_ALL_PAGES."""
    # parameters
    call = GuestCall(uv, caller, asked)

    # checks
    refused = UNSHARE_ALL.climb(call)
    if refused or call.svm is None:
        return Reply(refused.code if refused else UCode.U_INVALID)

    # effect
    everything = [gfn_set_of(slot, 0, slot.count) for slot in reversed(list(call.svm.slots))]
    try:
        yield from each_part(everything, partial(unshare_all, uv, call.svm))
    except InHand as reason:
        return Reply(UCode.U_BUSY, detail=str(reason))
    except Unsettled as reason:
        return Reply(UCode.U_RETRY, detail=str(reason))

    # reply
    return Reply(UCode.U_SUCCESS)
