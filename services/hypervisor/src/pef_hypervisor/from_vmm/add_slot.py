"""Add a memory slot, whatever the VM's state.

Source: specification of the Hypervisor, section 6, "Hot-add"; designs, "hot-plugged".
"""

from pef_hypervisor.gfn.columns import VmSlot
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, N
from pef_hypervisor.memory.migrate_remaining import migrate_remaining
from pef_hypervisor.memory.slots import drop, register, unregister_at_rest
from pef_hypervisor.outcome import DONE, Errno, Outcome, barred, no_vm, refused
from pef_hypervisor.state import Store, Vm
from pef_kit.core.effects import Operation
from pef_protocol.quantities import PAGE_SIZE, SLOT_IDS, Gpa, Lpid, SlotId, gfn_of


def add_slot(store: Store, lpid: Lpid, slot_id: SlotId, gpa: Gpa, size: int) -> Operation[Outcome]:
    """Give VM `lpid` a slot of `size` bytes from `gpa`; in a started VM register it and treat it by design.

    Whatever goes wrong is told, and no slot is left behind.
    """
    # parameters
    vm = store.vms.get(lpid)
    first, pages = gfn_of(gpa), size // PAGE_SIZE

    # checks
    if vm is None:
        return no_vm(lpid)
    if gpa % PAGE_SIZE or size % PAGE_SIZE or not size or gpa + size > 1 << 64:
        return Outcome(Errno.EINVAL, "a slot is whole pages on a page boundary, and does not wrap")
    if slot_id >= SLOT_IDS:
        return Outcome(Errno.EINVAL, f"slot ids are below {SLOT_IDS}")
    if vm.slots.get(slot_id) is not None:
        return Outcome(Errno.EEXIST, f"slot {slot_id} is there already")
    if vm.slots.overlapping(first, pages) is not None:
        return Outcome(Errno.EEXIST, "it overlaps another slot")
    if why := barred(vm, exclusive=True):
        return why
    base = store.memory.claim(pages)
    if base is None:
        return Outcome(Errno.ENOMEM, "there is not enough normal memory")

    # effect
    slot = VmSlot(slot_id, first, pages, base)
    if not vm.started:
        vm.slots.add(slot)
        return DONE
    with vm.gate.held("add a slot") as turn:
        outcome = yield from store.leased(vm, turn, _add(store, vm, slot))

    # reply
    return outcome


def _add(store: Store, vm: Vm, slot: VmSlot) -> Operation[Outcome]:
    """Plug a slot into a started VM; where that fails, take it back on both sides, or have the VM reset."""
    try:
        outcome = yield from _plug(store, vm, slot)
        if outcome.errno is not Errno.OK and not (yield from _taken_back(store, vm, slot)):
            vm.must_reset = True
    finally:
        # Order: a slot that the VM does not have is nobody's, and none of its pages was ever touched.
        if vm.slots.get(slot.slot_id) is not slot and slot.base in store.memory.claims:
            store.memory.release(slot.base, slot.count)
    return outcome


def _taken_back(store: Store, vm: Vm, slot: VmSlot) -> Operation[bool]:
    """Take a slot back that was plugged in part; return whether neither side has it."""
    if slot.registered:
        answer = yield from unregister_at_rest(store, vm, slot)
        if not answer.succeeded:
            return False
    return (yield from drop(store, vm, slot))


def _plug(store: Store, vm: Vm, slot: VmSlot) -> Operation[Outcome]:
    """Register a slot of a started VM, then treat its GFNs; most designs let hypercalls reach it meanwhile.

    Where there are too few device pages the Ultravisor is asked all the same: it makes room for the slot by
    H_SVM_PAGE_OUT, which frees device pages here, too.
    """
    secured = vm.design.table.cells[GfnEvent.PLUG][N].action is not GfnAction.NOTHING
    first = vm.design.plugged_secure and slot.count <= store.pool.free
    if first:
        vm.slots.add(slot)
        yield from migrate_remaining(store, vm, [slot], GfnEvent.PLUG)
    elif vm.design.plugged_visible and not vm.design.plugged_secure:
        vm.slots.add(slot)
    answer = yield from register(vm, slot)
    if not answer.succeeded:
        return refused(answer)
    if first:
        return DONE  # What is normal by now was shared or paged out meanwhile: nothing is unmigrated.
    if vm.slots.get(slot.slot_id) is None:
        vm.slots.add(slot)
    if secured:
        obstacle = yield from migrate_remaining(store, vm, [slot], GfnEvent.PLUG)
        if obstacle:
            return Outcome(Errno.EBUSY if obstacle.busy else Errno.ENOMEM, obstacle.why)
    return DONE
