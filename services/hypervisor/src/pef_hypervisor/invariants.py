"""What must be true of this side's columns at every moment: one function an invariant.

GFNs in flight are left out: the call that has them is responsible.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from pef_hypervisor.gfn.columns import BUSY, HOST_POPULATED, SENT, STAND_IN, VmSlot
from pef_hypervisor.state import LPIDS, Store, Vm
from pef_kit.core.runs import U8
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.states import HvGfnState, HvVmState


def resting(slot: VmSlot) -> Iterator[tuple[U8, U8]]:
    """Yield states and marks of the GFNs of `slot` that no call has in flight, block by block."""
    for block in slot.blocks():
        settled = ~slot.marked(block, BUSY)
        if settled.all():
            yield slot.state[block], slot.marks[block]
        else:
            yield slot.state[block][settled], slot.marks[block][settled]


def every_slot(store: Store) -> Iterator[tuple[Vm, VmSlot, str]]:
    """Yield each VM with each of its slots, and how to name them."""
    for vm in store.vms.values():
        for slot in vm.slots:
            yield vm, slot, f"slot {slot.slot_id} of VM {vm.lpid}"


def states_are_the_designs(store: Store) -> Iterator[str]:
    """Require that a GFN is in a state that its VM's design keeps."""
    for vm, slot, name in every_slot(store):
        kept = np.zeros(256, np.bool_)
        kept[[int(state) for state in vm.design.states]] = True
        if not all(kept[slot.state[block]].all() for block in slot.blocks()):
            yield f"{name}: a GFN is in a state that {vm.design.name} does not keep"


def normal_vms_are_plain(store: Store) -> Iterator[str]:
    """Require that a normal VM has normal GFNs only, and no trace of ever having been secure."""
    for vm, slot, name in every_slot(store):
        if vm.state is not HvVmState.NORMAL:
            continue
        if slot.registered:
            yield f"{name}: registered, but the VM is normal"
        for states, marks in resting(slot):
            if states.any() or (marks & np.uint8(STAND_IN | SENT)).any():
                yield f"{name}: a GFN of a normal VM is not plain"
                break


def started_vms_are_registered(store: Store) -> Iterator[str]:
    """Require that the Ultravisor knows every slot of a started VM."""
    for vm, slot, name in every_slot(store):
        if vm.started and not (vm.gate.taken or vm.must_reset) and not slot.registered:
            yield f"{name}: the VM is {vm.state.name}, but the slot is not registered"


def secure_pages_left(store: Store) -> Iterator[str]:
    """Require that the normal page of a secure GFN was scrubbed, unless its VM must be reset."""
    for vm, slot, name in every_slot(store):
        for states, marks in resting(slot) if not vm.must_reset else ():
            sure = states == HvGfnState.SECURE
            if (marks[sure] & np.uint8(HOST_POPULATED | STAND_IN)).any():
                yield f"{name}: a secure GFN still has a normal page"
                break


def visible_pages_are_there(store: Store) -> Iterator[str]:
    """Require that a shared, paged-out or replaced page has bytes."""
    for _, slot, name in every_slot(store):
        for states, marks in resting(slot):
            has = (marks & np.uint8(HOST_POPULATED)) != 0
            wants = (states == HvGfnState.PAGED_OUT) | (states == HvGfnState.SHARED)
            wants |= (marks & np.uint8(STAND_IN)) != 0
            if (wants & ~has).any():
                yield f"{name}: a GFN that the host has the bytes of has no normal page"
                break


def device_pages_add_up(store: Store) -> Iterator[str]:
    """Require that every secure GFN has one device page, and nobody else has one."""
    secure = sum(slot.counted(HvGfnState.SECURE) for _, slot, _ in every_slot(store))
    pool = store.pool
    if not any(vm.gate.taken for vm in store.vms.values()) and secure != pool.held:
        yield f"{pool.held} device pages are held for {secure} secure GFNs"
    if min(pool.held, pool.reserved, pool.free) < 0:
        yield f"of {pool.size} device pages {pool.held} are held and {pool.reserved} reserved"


def nothing_moves_alone(store: Store) -> Iterator[str]:
    """Require that a GFN is in flight only while a call of its VM is open."""
    for vm, slot, name in every_slot(store):
        if not vm.gate.open and slot.moving:
            yield f"{name}: a GFN is in flight for no call"
    if store.pool.reserved and not any(vm.gate.open for vm in store.vms.values()):
        yield f"{store.pool.reserved} device pages are reserved for no call"


def memory_is_apart(store: Store) -> Iterator[str]:
    """Require that each slot has its own range of normal memory."""
    claims = store.memory.claims
    for _, slot, name in every_slot(store):
        if claims.get(slot.base) != slot.count * PAGE_SIZE:
            yield f"{name}: its range of normal memory is not its own"
    end = 0
    for base in sorted(claims):
        if base < end:
            yield f"two ranges of normal memory overlap at {base:#x}"
        end = base + claims[base]
    bases = [slot.base for _, slot, _ in every_slot(store)]
    if len(set(bases)) != len(bases):
        yield "two slots have one range of normal memory"


def lpids_are_their_own(store: Store) -> Iterator[str]:
    """Require that a VM is found by its own lpid."""
    for lpid, vm in store.vms.items():
        if vm.lpid != lpid or lpid not in LPIDS:
            yield f"VM {vm.lpid} is filed as {lpid}"


def slots_are_apart(store: Store) -> Iterator[str]:
    """Require that no two slots of a VM have a GFN or an id in common."""
    for vm in store.vms.values():
        slots = sorted(vm.slots, key=lambda slot: slot.first)
        for lower, upper in pairwise(slots):
            if lower.end > upper.first:
                yield f"slots {lower.slot_id} and {upper.slot_id} of VM {vm.lpid} overlap"
        if len({slot.slot_id for slot in slots}) != len(slots):
            yield f"VM {vm.lpid} has two slots of one id"


INVARIANTS: Final[tuple[Callable[[Store], Iterator[str]], ...]] = (
    states_are_the_designs,
    normal_vms_are_plain,
    started_vms_are_registered,
    secure_pages_left,
    visible_pages_are_there,
    device_pages_add_up,
    nothing_moves_alone,
    memory_is_apart,
    lpids_are_their_own,
    slots_are_apart,
)


def broken(store: Store) -> list[str]:
    """Return a sentence for each invariant that does not hold."""
    return [sentence for invariant in INVARIANTS for sentence in invariant(store)]
