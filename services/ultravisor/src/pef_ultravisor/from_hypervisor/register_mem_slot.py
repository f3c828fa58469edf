"""UV_REGISTER_MEM_SLOT: an SVM gets guest memory.

A registered slot is secure and zero throughout. Under `eager` and `broken` the Ultravisor also asks for every
GFN of a slot that is plugged into a secure VM, while the call that plugs it is still open: as history had it,
and a refusal is passed over as it was then.

Source: ultravisor.rst, UV_REGISTER_MEM_SLOT; decisions, "slot calls".
"""

from typing import Final

from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.columns import gfn_set_of
from pef_kit.core.effects import Operation
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, gfn_of
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import RegisterMemSlot
from pef_ultravisor import checks
from pef_ultravisor.checks import SlotCall
from pef_ultravisor.gfn.columns import FrameSlot, page_runs
from pef_ultravisor.memory.frames import NoSecureMemory
from pef_ultravisor.state import Ultravisor
from pef_ultravisor.to_hypervisor.calls import NONSHARED, Refused, page_in
from pef_ultravisor.to_hypervisor.eviction import make_room

GUEST_MEMORY_END: Final = 1 << 46
"""No guest has memory at or beyond this address: 64 TiB."""

IMAGE: Final = ("device tree", "RTAS area", "initrd", "ESM blob", "kernel")
SHARED_AT_MOST: Final = 7
"""Pages of a VM that never are in secure memory: the Ultravisor's bounce pages."""

Call = SlotCall[RegisterMemSlot]


def size_is_whole_pages(call: Call) -> bool:
    """Pass a range of whole pages below the end of guest memory."""
    size = call.asked.size
    return size > 0 and size % PAGE_SIZE == 0 and call.asked.start_gpa + size <= GUEST_MEMORY_END


def range_is_free(call: Call) -> bool:
    """Pass a range of which no other slot has a GFN."""
    first, count = gfn_of(call.asked.start_gpa), call.asked.size >> PAGE_ORDER
    return call.found is None or call.found.slots.overlapping(first, count) is None


CHECKS: Final = CheckOrder[Call](
    check_orders.REGISTER_MEM_SLOT,
    {
        "caller": checks.from_hypervisor,
        "start_gpa": lambda call: call.asked.start_gpa % PAGE_SIZE == 0,
        "size": size_is_whole_pages,
        "flags": lambda call: call.asked.flags == 0,
        "slotid": checks.slot_id_is_known,
        "lpid": checks.names_an_svm,
        "aborted": checks.not_aborted,
        "registered": lambda call: call.located is None,
        "overlap": range_is_free,
    },
)


def uv_register_mem_slot(uv: Ultravisor, caller: Caller, asked: RegisterMemSlot) -> Operation[Reply]:
    """Answer UV_REGISTER_MEM_SLOT."""
    # parameters
    call = Call(uv, caller, asked)
    pages = asked.size >> PAGE_ORDER

    # checks
    refused = CHECKS.first_failing(call)
    if refused:
        return refuse(refused)
    if pages > most_of(uv):
        call.svm.too_large = True
        return Reply(UCode.U_RETRY, detail="the machine can never hold a slot of that size")
    if call.svm.whole:
        if not (yield from make_room(uv, pages, new=True)):
            return Reply(UCode.U_RETRY, detail="secure memory is full")
        call = Call(uv, caller, asked)
        refused = CHECKS.first_failing(call)
        if refused:
            return refuse(refused)
    svm = call.svm

    # effect
    try:
        slot = FrameSlot(asked.slotid, gfn_of(asked.start_gpa), pages, uv.frames)
    except (NoSecureMemory, MemoryError) as failure:
        return Reply(UCode.U_RETRY, detail=str(failure))
    svm.slots.add(slot)
    detail = ""
    if svm.state is UvVmState.SECURE and svm.settings.asks_for_plugged:
        try:
            yield from page_in(svm, page_runs([gfn_set_of(slot, 0, slot.count)]), NONSHARED)
        except Refused as refusal:
            detail = f"of the slot: {refusal}"

    # reply
    return Reply(UCode.U_SUCCESS, detail=detail)


def most_of(uv: Ultravisor) -> int:
    """Return more pages than a slot can have of a VM that becomes secure here.

    Each part of the image has to be in secure memory at once, and so has what is not of the image.
    """
    return (len(IMAGE) + 1) * uv.capacity.secure_pages + SHARED_AT_MOST
