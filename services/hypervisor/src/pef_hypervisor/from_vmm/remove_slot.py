"""Remove a memory slot, whatever the VM's state: drop its pages, then UV_UNREGISTER_MEM_SLOT.

Source: specification of the Hypervisor, section 6, "Hot-remove".
"""

from pef_hypervisor.gfn.columns import VmSlot
from pef_hypervisor.memory.slots import drop, unregister_at_rest
from pef_hypervisor.outcome import DONE, OPEN, Errno, Outcome, barred, no_vm, refused
from pef_hypervisor.state import Store, Vm
from pef_kit.core.effects import Operation
from pef_protocol.quantities import Lpid, SlotId


def remove_slot(store: Store, lpid: Lpid, slot_id: SlotId) -> Operation[Outcome]:
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
    if why := barred(vm, exclusive=True):
        return why
    if slot.calls_in_flight and not slot.registered:
        return Outcome(Errno.EBUSY, "a page of the slot is in flight")

    # effect
    with vm.gate.held("remove a slot") as turn:
        outcome = yield from store.leased(vm, turn, _remove(store, vm, slot))

    # reply
    return outcome


def _remove(store: Store, vm: Vm, slot: VmSlot) -> Operation[Outcome]:
    """Have the Ultravisor let go of a slot, then drop it."""
    if slot.registered:
        answer = yield from unregister_at_rest(store, vm, slot)
        if not answer.succeeded:
            return refused(answer)
    return DONE if (yield from drop(store, vm, slot)) else OPEN
