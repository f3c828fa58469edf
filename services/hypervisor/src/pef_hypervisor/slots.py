"""Memory slots of a VM that the Ultravisor knows, or is to know, of."""

from itertools import count

import numpy as np

from pef_hypervisor.frames import MOVING, REPLACED, TOUCHED, Vm, VmSlot
from pef_hypervisor.lifecycle import GfnEvent
from pef_hypervisor.store import Store
from pef_hypervisor.to_ultravisor import Answer, insist, try_once
from pef_kit.operations import Operation, Pause
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, gpa_of
from pef_protocol.states import HvGfnState, HvVmState
from pef_protocol.ultracalls import RegisterMemSlot, UnregisterMemSlot


def register(vm: Vm, slot: VmSlot) -> Operation[Answer]:
    """Register a slot by UV_REGISTER_MEM_SLOT; busy is tried again, and in the end a refusal."""
    request = RegisterMemSlot(vm.lpid, gpa_of(slot.first), slot.count * PAGE_SIZE, 0, slot.slot_id)
    answer = yield from insist("UV_REGISTER_MEM_SLOT", request)
    if answer.code is UCode.U_P5:
        # Nothing of ours has that id: an earlier call was done and never answered.
        yield from insist("UV_UNREGISTER_MEM_SLOT", UnregisterMemSlot(vm.lpid, slot.slot_id))
        answer = yield from insist("UV_REGISTER_MEM_SLOT", request)
    slot.registered = answer.succeeded
    return answer


def unregister(vm: Vm, slot: VmSlot) -> Operation[Answer]:
    """Take a slot back by UV_UNREGISTER_MEM_SLOT; busy is tried again."""
    answer = yield from insist("UV_UNREGISTER_MEM_SLOT", UnregisterMemSlot(vm.lpid, slot.slot_id))
    slot.registered &= not answer.succeeded
    return answer


def unregister_if_idle(vm: Vm, slot: VmSlot) -> Operation[Answer]:
    """Take a slot back by one UV_UNREGISTER_MEM_SLOT, for a VM whose SVM is ended next: busy is an answer.

    Order: the Ultravisor may be busy because it waits for a hypercall that this VM, closed, tells is busy.
    Who insisted would wait for it in turn.
    """
    answer = yield from try_once("UV_UNREGISTER_MEM_SLOT", UnregisterMemSlot(vm.lpid, slot.slot_id))
    slot.registered &= not answer.succeeded
    return answer


def unregister_at_rest(vm: Vm, slot: VmSlot) -> Operation[Answer]:
    """Take a slot back of which no GFN is in flight, here or there.

    Order: where the Ultravisor is busy, it may wait for a hypercall on a GFN of the slot; so the slot is let
    go of before each new try. While UV_ESM is open it may have measured pages of the slot, and wait in turn
    for a call that finds the VM held: then it is asked once.
    """
    answer = Answer(UCode.U_BUSY, "a page of the slot is in flight")
    for attempt in count():
        if not slot.moving:
            slot.mark(slice(None), MOVING)
            try:
                request = UnregisterMemSlot(vm.lpid, slot.slot_id)
                answer = yield from try_once("UV_UNREGISTER_MEM_SLOT", request)
            finally:
                slot.unmark(slice(None), MOVING)
            if answer.code is not UCode.U_BUSY or vm.state is HvVmState.TRANSIENT:
                break
        if not (yield Pause(attempt)):
            break
    if answer.code is UCode.U_P2:
        # The Ultravisor has no such slot: an earlier call was done and never answered.
        answer = Answer(UCode.U_SUCCESS, answer.detail)
    slot.registered &= not answer.succeeded
    return answer


def forget(store: Store, vm: Vm, slot: VmSlot) -> None:
    """Drop what is secure of a slot, without UV_PAGE_OUT: its GFNs are normal, its device pages free."""
    for block in slot.blocks():
        column = slot.state[block]
        store.pool.give_back(int(np.count_nonzero(column == HvGfnState.SECURE)))
        vm.rules.table.advance(GfnEvent.FORGET, column)


def scrub_replaced(store: Store, vm: Vm) -> Operation[None]:
    """Scrub what came in place of secure pages that were dropped: nobody can decrypt it any more.

    Order: at once, for whatever fails later, the VM may be made normal by another way.
    """
    for slot in vm.slots:
        replaced = slot.where(REPLACED)
        yield from store.memory.scrub(slot, replaced)
        slot.unmark(replaced, TOUCHED | REPLACED)


def make_plain(vm: Vm) -> None:
    """Leave no trace on the VM's slots that it was ever secure; its GFNs are normal already."""
    for slot in vm.slots:
        for block in slot.blocks():
            slot.marks[block] &= np.uint8(TOUCHED | MOVING)
        slot.registered = False
