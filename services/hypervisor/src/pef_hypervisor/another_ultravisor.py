"""The Ultravisor is another one: what this side does before it says hello, and after.

On the machine this is a reset. Every SVM is dead; their VMs become normal ones, with what was secure lost. A
VM in which an operation was cut off is to be reset by its operator, for nobody knows how far that came.
Loads and stores of normal VMs go on all the time.

Source: rule 3 of ARCHITECTURE.md, "Identity and time".
"""

from itertools import count

from pef_hypervisor.memory.slots import drop_secure, make_plain
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import write_pate
from pef_kit.core.effects import Backoff, Operation
from pef_protocol.codes import UCode
from pef_protocol.states import HvVmState


def end_operations(store: Store) -> Operation[None]:
    """End every operation that needs the Ultravisor at its next effect, and wait until all have ended."""
    for vm in store.vms.values():
        if vm.in_epoch and (vm.state is not HvVmState.NORMAL or vm.gate.taken):
            vm.must_reset = True
    store.epoch.end()
    for attempt in count():
        if not store.in_the_making and not any(vm.in_epoch for vm in store.vms.values()):
            break
        yield Backoff(attempt, ignore_deadline=True)


def fit_new_ultravisor(store: Store) -> Operation[None]:
    """Make every VM a normal one, or one that must be reset, and write its entry.

    Order: no operation is open but loads and stores of normal VMs; hello has been answered, so no byte of an
    SVM moves any more.
    """
    for vm in tuple(store.vms.values()):
        with vm.gate.admitted("another Ultravisor"):
            yield from _forget_svm(store, vm)
            yield from _write_entry(vm)


def _forget_svm(store: Store, vm: Vm) -> Operation[None]:
    """Drop what the SVM had; call the VM normal, unless an operation was cut off in it."""
    vm.svm_incarnation = vm.next_svm = None
    if vm.state is HvVmState.NORMAL:
        vm.abort_due = False
        return
    vm.state, vm.must_abort = HvVmState.TRANSIENT, True
    yield from drop_secure(store, vm)
    yield from make_plain(vm)
    if not vm.must_reset:
        vm.state, vm.must_abort = HvVmState.NORMAL, False


def _write_entry(vm: Vm) -> Operation[None]:
    """Write the VM's entry; where the Ultravisor refuses it, reset has to write it."""
    answer = yield from write_pate(vm.lpid, radix=vm.radix, vm=vm)
    for attempt in count():
        if answer.code is not UCode.U_BUSY:
            break
        again: bool = yield Backoff(attempt, ignore_deadline=True)
        if not again:
            break
        answer = yield from write_pate(vm.lpid, radix=vm.radix, vm=vm)
    if not answer.succeeded:
        vm.must_reset = True
