"""Remove a memory slot, whatever the VM's state: drop its pages, then UV_UNREGISTER_MEM_SLOT.

Source: specification of the Hypervisor, section 6, "Hot-remove".
"""

from pef_hypervisor.from_vmm.outcome import DONE, HELD, Errno, Outcome, no_vm, refused
from pef_hypervisor.slots import forget, unregister_at_rest
from pef_hypervisor.store import Store
from pef_kit.operations import Operation


def remove_slot(store: Store, lpid: int, slot_id: int) -> Operation[Outcome]:
    """Take a slot from VM `lpid`; its normal pages are scrubbed.

    Where the Ultravisor refuses, the slot stays as it is.
    """
    # parameters
    vm = store.vms.get(lpid)
    slot = vm.slots.get(slot_id) if vm is not None else None

    # checks
    if vm is None:
        return no_vm(lpid)
    if slot is None:
        return Outcome(Errno.ENOENT, f"there is no slot {slot_id}")
    if vm.held_by:
        return HELD
    if slot.moving and not slot.registered:
        return Outcome(Errno.EBUSY, "a page of the slot is in flight")

    # effect
    with vm.held("remove a slot"):
        if slot.registered:
            answer = yield from unregister_at_rest(vm, slot)
            if not answer.succeeded:
                return refused(answer)
        forget(store, vm, slot)
        vm.slots.remove(slot)
        store.memory.vacate(slot)

    # reply
    return DONE
