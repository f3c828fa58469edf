"""Memory slots of a VM that the Ultravisor knows, or is to know, of."""

from collections.abc import Iterable
from itertools import count
from typing import Final

import numpy as np

from pef_hypervisor.gfn.columns import (
    BUSY,
    HOST_POPULATED,
    STAND_IN,
    GfnSets,
    VmSlot,
    gfn_set_at,
    whole_in_flight,
)
from pef_hypervisor.gfn.table import GfnEvent
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import Answer, call_once, call_with_retry
from pef_hypervisor.to_ultravisor.paging import scrub_pages
from pef_kit.core.effects import Backoff, Operation
from pef_kit.core.parts import part_by_part, set_by_set
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, gpa_of
from pef_protocol.states import HvGfnState, HvVmState
from pef_protocol.ultracalls import RegisterMemSlot, UnregisterMemSlot

NOT_THERE: Final = frozenset({UCode.U_P2, UCode.U_PARAMETER})
"""Answers to UV_UNREGISTER_MEM_SLOT by which there is nothing to take back."""


def register(vm: Vm, slot: VmSlot) -> Operation[Answer]:
    """Register a slot by UV_REGISTER_MEM_SLOT; busy is tried again, and in the end a refusal."""
    request = RegisterMemSlot(vm.lpid, gpa_of(slot.first), slot.count * PAGE_SIZE, 0, slot.slot_id)
    answer = yield from call_with_retry("UV_REGISTER_MEM_SLOT", request, vm, vm.svm_incarnation)
    slot.registered = answer.succeeded
    return answer


def unregister(vm: Vm, slot: VmSlot) -> Operation[Answer]:
    """Take a slot back by UV_UNREGISTER_MEM_SLOT; busy is tried again."""
    request = UnregisterMemSlot(vm.lpid, slot.slot_id)
    answer = yield from call_with_retry("UV_UNREGISTER_MEM_SLOT", request, vm, vm.svm_incarnation)
    slot.registered &= not answer.succeeded
    return answer


def unregister_if_idle(vm: Vm, slot: VmSlot) -> Operation[Answer]:
    """Take a slot back by one UV_UNREGISTER_MEM_SLOT, for a VM whose SVM is ended next: busy is an answer.

    Order: the Ultravisor may be busy because it waits for a hypercall that this VM, closed, tells is busy.
    Who insisted would wait for it in turn.
    """
    request = UnregisterMemSlot(vm.lpid, slot.slot_id)
    answer = yield from call_once("UV_UNREGISTER_MEM_SLOT", request, vm, vm.svm_incarnation)
    slot.registered &= not answer.succeeded
    return answer


def unregister_at_rest(store: Store, vm: Vm, slot: VmSlot) -> Operation[Answer]:
    """Take a slot back of which no GFN is in flight, here or there; that it is not there is as good.

    Order: where the Ultravisor is busy, it may wait for a hypercall on a GFN of the slot; so the slot is let
    go of before each new try. While UV_ESM is open it may have measured pages of the slot, and wait in turn
    for a call that finds the VM held: then it is asked once.
    """
    answer = Answer(UCode.U_BUSY, "a page of the slot is in flight")
    for attempt in count():
        if not slot.calls_in_flight:
            with whole_in_flight(slot):
                request = UnregisterMemSlot(vm.lpid, slot.slot_id)
                answer = yield from call_once("UV_UNREGISTER_MEM_SLOT", request, vm, vm.svm_incarnation)
            if answer.code is not UCode.U_BUSY or vm.state is HvVmState.TRANSIENT:
                break
        again: bool = yield Backoff(attempt)
        if not again:
            break
    if answer.code in NOT_THERE:
        answer = Answer(UCode.U_SUCCESS, answer.detail)
    slot.registered &= not answer.succeeded
    return answer


def drop(store: Store, vm: Vm, slot: VmSlot) -> Operation[bool]:
    """Take a slot that the Ultravisor does not know out of the VM, and its range of normal memory back.

    Return whether it is out: not where a request of the memory bus still names its range. Order: no GFN of
    the slot is in flight.
    """
    with whole_in_flight(slot):
        yield from forget(store, vm, [slot])
        gone = yield from store.memory.vacate(slot)
        if gone and vm.slots.get(slot.slot_id) is slot:
            vm.slots.remove(slot)
    return gone


def forget(store: Store, vm: Vm, slots: Iterable[VmSlot]) -> Operation[None]:
    """Drop what is secure of slots, without UV_PAGE_OUT: their GFNs are normal, their device pages free.

    Where the normal page of a secure GFN may have bytes, it is marked to be scrubbed.
    """

    def drop_part(slot: VmSlot, part: slice) -> None:
        for block in slot.blocks_of(part):
            column = slot.state[block]
            secure = column == np.uint8(HvGfnState.SECURE)
            if vm.must_reset:
                slot.marks[block] |= secure.view(np.uint8) * np.uint8(HOST_POPULATED | STAND_IN)
            store.pool.release(int(np.count_nonzero(secure)))
            vm.design.table.advance(GfnEvent.FORGET, column)

    return part_by_part(slots, drop_part)


def drop_secure(store: Store, vm: Vm) -> Operation[None]:
    """Drop what is secure of a VM whose SVM has ended, and scrub what came in place of secure pages.

    Where a call had no outcome, or could not be taken back, the normal page of a secure GFN may have bytes
    too. Order: scrubbed at once, for whatever fails later, the VM may be made normal by another way.
    """
    yield from forget(store, vm, vm.slots)
    yield from scrub_stand_ins(store, vm)


def scrub_stand_ins(store: Store, vm: Vm) -> Operation[None]:
    """Scrub what came in place of secure pages. Order: nobody else acts on the VM."""
    found: GfnSets = []

    def find(slot: VmSlot, part: slice) -> None:
        found.extend(gfn_set_at(slot, offsets) for offsets in slot.where(STAND_IN, part))

    yield from part_by_part(vm.slots, find)
    yield from set_by_set(found, lambda gfns: scrub_pages(store, vm, [gfns]))


def make_plain(vm: Vm) -> Operation[None]:
    """Leave no trace on the VM's slots that it was ever secure; its GFNs are normal already."""

    def plain(slot: VmSlot, part: slice) -> None:
        slot.marks[part] &= np.uint8(HOST_POPULATED | BUSY)

    for slot in vm.slots:
        slot.registered = False
    return part_by_part(vm.slots, plain)
