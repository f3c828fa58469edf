"""Add a memory slot, whatever the VM's state.

Source: specification of the Hypervisor, section 6, "Hot-add"; designs, "hot-plugged".
"""

from pef_hypervisor.frames import Vm, VmSlot
from pef_hypervisor.from_vmm.outcome import DONE, Errno, Outcome, barred, no_vm, refused
from pef_hypervisor.left_over import secure_left_over
from pef_hypervisor.lifecycle import GfnDeed, GfnEvent, N
from pef_hypervisor.slots import forget, register, unregister
from pef_hypervisor.store import Store
from pef_kit.operations import Operation
from pef_protocol.quantities import PAGE_SIZE, SLOT_IDS, SlotId, gfn_of


def add_slot(store: Store, lpid: int, slot_id: int, gpa: int, size: int) -> Operation[Outcome]:
    """Give VM `lpid` a slot of `size` bytes from `gpa`; in a started VM register it and treat it by design.

    Whatever goes wrong is told, and no slot is left behind.
    """
    # parameters
    vm = store.vms.get(lpid)
    first, count = gfn_of(gpa), size // PAGE_SIZE

    # checks
    if vm is None:
        return no_vm(lpid)
    if gpa % PAGE_SIZE or size % PAGE_SIZE or not size or gpa + size > 1 << 64:
        return Outcome(Errno.EINVAL, "a slot is whole pages on a page boundary, and does not wrap")
    if slot_id >= SLOT_IDS:
        return Outcome(Errno.EINVAL, f"slot ids are below {SLOT_IDS}")
    if vm.slots.get(slot_id) is not None:
        return Outcome(Errno.EEXIST, f"slot {slot_id} is there already")
    if vm.slots.overlapping(first, count) is not None:
        return Outcome(Errno.EEXIST, "it overlaps another slot")
    if why := barred(vm, exclusive=True):
        return why
    plugged = vm.started
    secured = vm.rules.table.cells[GfnEvent.PLUG][N].does is not GfnDeed.NOTHING
    if plugged and secured and count > store.pool.free:
        return Outcome(Errno.ENOMEM, "there are not enough device pages")
    base = store.memory.claim(count)
    if base is None:
        return Outcome(Errno.ENOMEM, "there is not enough normal memory")

    # effect
    slot = VmSlot(SlotId(slot_id), first, count, base)
    if not plugged:
        vm.slots.add(slot)
        return DONE
    with vm.gate.held("add a slot") as turn:
        outcome = yield from store.leased(vm, turn, _plug(store, vm, slot))
        if outcome.errno is not Errno.OK:
            forget(store, vm, slot)
            if slot in tuple(vm.slots):
                vm.slots.remove(slot)
            store.memory.vacate(slot)

    # reply
    return outcome


def _plug(store: Store, vm: Vm, slot: VmSlot) -> Operation[Outcome]:
    """Register a slot of a started VM; most designs let nested hypercalls reach it meanwhile."""
    if vm.rules.plugged_visible:
        vm.slots.add(slot)
    if vm.rules.plugged_secure:
        complaint = yield from secure_left_over(store, vm, [slot], GfnEvent.PLUG)
        if complaint:
            return Outcome(Errno.ENOMEM, complaint)
    answer = yield from register(vm, slot)
    if answer.code is None:
        # Nobody answered: the Ultravisor may have the slot, whose pages would fill its memory for good.
        yield from unregister(vm, slot)
    if not answer.succeeded:
        return refused(answer)
    if vm.rules.plugged_secure:
        return DONE  # What is normal by now was shared or paged out meanwhile: nothing is left over.
    if not vm.rules.plugged_visible:
        vm.slots.add(slot)
    complaint = yield from secure_left_over(store, vm, [slot], GfnEvent.PLUG)
    if complaint:
        yield from unregister(vm, slot)
        return Outcome(Errno.ENOMEM, complaint)
    return DONE
