"""UV_REGISTER_MEM_SLOT and UV_UNREGISTER_MEM_SLOT: the guest memory that an SVM has.

A registered slot is secure and zero throughout. Under `eager` and `broken` the Ultravisor also asks for every
GFN of a slot that is plugged into a secure VM, while the call that plugs it is still open: as history had it,
and a refusal is passed over as it was then.

Source: ultravisor.rst, UV_REGISTER_MEM_SLOT, UV_UNREGISTER_MEM_SLOT; decisions, "slot calls".
"""

from dataclasses import dataclass
from typing import Final

from pef_kit.columns import gfn_set_of
from pef_kit.ladder import Ladder
from pef_kit.operations import Operation
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, SLOT_IDS, gfn_of
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import RegisterMemSlot, UnregisterMemSlot
from pef_protocol.wire import Caller, Role
from pef_ultravisor.gfn.columns import FrameSlot, Svm, page_runs
from pef_ultravisor.memory.frames import NoSecureMemory
from pef_ultravisor.state import Ultravisor
from pef_ultravisor.to_hypervisor.calls import NONSHARED, Refused, page_in
from pef_ultravisor.to_hypervisor.eviction import make_room

GUEST_MEMORY_END: Final = 1 << 46
"""No guest has memory at or beyond this address: 64 TiB."""

IMAGE: Final = ("device tree", "RTAS area", "initrd", "ESM blob", "kernel")
SHARED_AT_MOST: Final = 7
"""Pages of a VM that never are in secure memory: the Ultravisor's bounce pages."""

ASK_FOR_PLUGGED: Final = frozenset({Design.EAGER, Design.BROKEN})


@dataclass(frozen=True, slots=True)
class SlotCall:
    """A slot call as it is checked."""

    uv: Ultravisor
    caller: Caller
    asked: RegisterMemSlot | UnregisterMemSlot

    @property
    def svm(self) -> Svm | None:
        """Return the SVM that the call names, or None."""
        return self.uv.svm(self.asked.lpid)

    @property
    def slot(self) -> FrameSlot | None:
        """Return the slot that the call names, or None."""
        return self.svm.slots.get(self.asked.slotid) if self.svm else None

    @property
    def may_go(self) -> bool:
        """Tell whether nobody has a GFN of the slot in hand, and no open UV_ESM has measured pages of it."""
        if self.svm is None or self.slot is None:
            return False
        measured = self.svm.state is UvVmState.ACTIVE and self.slot.imported > 0
        return not measured and not self.slot.flights


@dataclass(frozen=True, slots=True)
class Registration(SlotCall):
    """UV_REGISTER_MEM_SLOT as it is checked."""

    asked: RegisterMemSlot

    @property
    def ends(self) -> bool:
        """Tell whether the range is whole pages below the end of guest memory."""
        size = self.asked.size
        whole = size > 0 and size % PAGE_SIZE == 0
        return whole and self.asked.start_gpa + size <= GUEST_MEMORY_END

    @property
    def is_free(self) -> bool:
        """Tell whether no other slot has a GFN of the range."""
        first, count = gfn_of(self.asked.start_gpa), self.asked.size >> PAGE_ORDER
        return self.svm is None or self.svm.slots.overlapping(first, count) is None


REGISTER: Final = Ladder[Registration](
    ladders.REGISTER_MEM_SLOT,
    {
        "caller": lambda call: call.caller.role is Role.HYPERVISOR,
        "start_gpa": lambda call: call.asked.start_gpa % PAGE_SIZE == 0,
        "size": lambda call: call.ends,
        "flags": lambda call: call.asked.flags == 0,
        "slotid": lambda call: call.asked.slotid < SLOT_IDS,
        "lpid": lambda call: call.svm is not None,
        "aborted": lambda call: call.svm is not None and call.svm.state is not UvVmState.ABORT,
        "registered": lambda call: call.slot is None,
        "overlap": lambda call: call.is_free,
    },
)
UNREGISTER: Final = Ladder[SlotCall](
    ladders.UNREGISTER_MEM_SLOT,
    {
        "caller": lambda call: call.caller.role is Role.HYPERVISOR,
        "slotid": lambda call: call.asked.slotid < SLOT_IDS,
        "lpid": lambda call: call.svm is not None,
        "registered": lambda call: call.slot is not None,
        "moving": lambda call: call.may_go,
    },
)


def uv_register_mem_slot(uv: Ultravisor, caller: Caller, asked: RegisterMemSlot) -> Operation[Reply]:
    """Answer UV_REGISTER_MEM_SLOT."""
    # parameters
    call = Registration(uv, caller, asked)
    pages = asked.size >> PAGE_ORDER

    # checks
    refused = REGISTER.climb(call)
    if not refused and call.svm and pages > most_of(uv):
        call.svm.too_large = True
        return Reply(UCode.U_RETRY, detail="the machine can never hold a slot of that size")
    if not refused and call.svm and call.svm.whole:
        if not (yield from make_room(uv, pages, new=True)):
            return Reply(UCode.U_RETRY, detail="secure memory is full")
        refused = REGISTER.climb(call)
    svm = call.svm
    if refused or svm is None:
        return Reply(refused.code if refused else UCode.U_PARAMETER)

    # effect
    try:
        slot = FrameSlot(asked.slotid, gfn_of(asked.start_gpa), pages, uv.frames)
    except (NoSecureMemory, MemoryError) as failure:
        return Reply(UCode.U_RETRY, detail=str(failure))
    svm.slots.add(slot)
    detail = ""
    if svm.state is UvVmState.SECURE and svm.design in ASK_FOR_PLUGGED:
        detail = yield from _ask_for(svm, slot)

    # reply
    return Reply(UCode.U_SUCCESS, detail=detail)


def most_of(uv: Ultravisor) -> int:
    """Return more pages than a slot can have of a VM that becomes secure here.

    Each part of the image has to be in secure memory at once, and so has what is not of the image.
    """
    return (len(IMAGE) + 1) * uv.capacity.secure_pages + SHARED_AT_MOST


def _ask_for(svm: Svm, slot: FrameSlot) -> Operation[str]:
    """Ask for every GFN of a slot being plugged; return what was refused, which changes nothing."""
    runs = page_runs([gfn_set_of(slot, 0, slot.count)])
    try:
        yield from page_in(svm, runs, NONSHARED)
    except Refused as refusal:
        return f"of the slot: {refusal}"
    return ""


def uv_unregister_mem_slot(uv: Ultravisor, caller: Caller, asked: UnregisterMemSlot) -> Operation[Reply]:
    """Answer UV_UNREGISTER_MEM_SLOT."""
    # parameters
    call = SlotCall(uv, caller, asked)

    # checks
    refused = UNREGISTER.climb(call)
    if refused:
        return Reply(refused.code)

    # effect
    if call.svm and call.slot:
        yield from uv.release_slot(call.svm, call.slot)

    # reply
    return Reply(UCode.U_SUCCESS)
