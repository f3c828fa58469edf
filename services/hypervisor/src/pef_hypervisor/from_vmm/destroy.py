"""Destroy a VM: end its SVM, empty its partition-table entry, scrub all its memory.

Source: specification of the Hypervisor, section 6, "VM destruction".
"""

from pef_hypervisor.memory.slots import drop, drop_secure
from pef_hypervisor.outcome import DONE, HELD, OPEN, Outcome, no_vm, refused
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import clear_pate, end_svm
from pef_kit.core.effects import Operation
from pef_protocol.quantities import Lpid
from pef_protocol.states import HvVmState


def destroy(store: Store, lpid: Lpid) -> Operation[Outcome]:
    """End VM `lpid` for good; its lpid is reused late. Where the Ultravisor refuses, try again."""
    # parameters
    vm = store.vms.get(lpid)

    # checks
    if vm is None:
        return no_vm(lpid)
    if vm.gate.ends_for_good:
        return HELD

    # effect
    with vm.gate.ending("destroy") as turn:
        outcome = yield from store.leased(vm, turn, _destroy(store, vm))

    # reply
    return outcome


def _destroy(store: Store, vm: Vm) -> Operation[Outcome]:
    """Wait for what is open, then end the SVM, whatever this side believes, and drop all that the VM had."""
    if not (yield from vm.gate.alone()):
        return OPEN
    answer = yield from end_svm(vm)
    if not answer.succeeded:
        return refused(answer)
    for slot in vm.slots:
        slot.registered = False
    if vm.state is not HvVmState.NORMAL:
        vm.state, vm.must_abort = HvVmState.TRANSIENT, True
    yield from drop_secure(store, vm)
    answer = yield from clear_pate(vm)
    if not answer.succeeded:
        return refused(answer)
    vm.must_reset = True  # it has no entry any more
    for slot in vm.slots:
        if not (yield from drop(store, vm, slot)):
            return OPEN
    store.end(vm)
    return DONE
