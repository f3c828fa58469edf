"""Destroy a VM: end its SVM, empty its partition-table entry, scrub all its memory.

Source: specification of the Hypervisor, section 6, "VM destruction".
"""

from pef_hypervisor.from_vmm.outcome import DONE, HELD, Errno, Outcome, no_vm, refused
from pef_hypervisor.partition import clear_pate, end_svm
from pef_hypervisor.slots import forget, scrub_replaced
from pef_hypervisor.store import Store
from pef_kit.operations import Operation
from pef_protocol.states import HvVmState


def destroy(store: Store, lpid: int) -> Operation[Outcome]:
    """End VM `lpid` for good; its lpid is reused late. Where the Ultravisor refuses, try again."""
    # parameters
    vm = store.vms.get(lpid)

    # checks
    if vm is None:
        return no_vm(lpid)
    if vm.held_by:
        return HELD
    if vm.open_calls or vm.moving:
        return Outcome(Errno.EBUSY, "calls of this VM are open")

    # effect
    with vm.held("destroy", closed=True):
        if vm.state is not HvVmState.NORMAL or vm.abort_due:
            answer = yield from end_svm(vm.lpid)
            if not answer.succeeded:
                return refused(answer)
            for slot in vm.slots:
                forget(store, vm, slot)
                slot.registered = False
            vm.state, vm.must_abort = HvVmState.TRANSIENT, True
            yield from scrub_replaced(store, vm)
        answer = yield from clear_pate(vm.lpid)
        if not answer.succeeded:
            return refused(answer)
        for slot in vm.slots:
            store.memory.vacate(slot)
        del store.vms[lpid]
        store.free_lpid(vm.lpid)

    # reply
    return DONE
