"""Reset (reboot) a VM: an SVM is ended, and the VM is a normal one again (KVM_PPC_SVM_OFF).

Source: specification of the Hypervisor, section 6, "Reset"; section 7, K7, K11 and K14.
"""

from pef_hypervisor.gfn.table import VmEvent, vm_cell
from pef_hypervisor.memory.slots import drop_secure, make_plain, unregister_if_idle
from pef_hypervisor.outcome import DONE, HELD, OPEN, Outcome, no_vm, refused
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import Answer, end_svm, renew_pate
from pef_kit.core.effects import Operation
from pef_protocol.quantities import Lpid
from pef_protocol.states import HvVmState


def reset(store: Store, lpid: Lpid) -> Operation[Outcome]:
    """Make VM `lpid` normal: drop its pages, unregister its slots, end its SVM, write its entry anew.

    Of a normal VM only the SVM is ended that may have begun behind it. Normal pages stay as they are, but for
    those that replaced a secure page. Where the SVM can't be ended and no slot was unregistered nothing has
    changed; else the VM can only be reset again, or aborted.
    """
    # parameters
    vm = store.vms.get(lpid)

    # checks
    if vm is None:
        return no_vm(lpid)
    if vm.gate.ends_for_good:
        return HELD

    # effect
    with vm.gate.ending("reset") as turn:
        outcome = yield from store.leased(vm, turn, _reset(store, vm))

    # reply
    return outcome


def _reset(store: Store, vm: Vm) -> Operation[Outcome]:
    """Wait for what is open, then end the SVM, whatever this side believes, and call the VM normal."""
    if not (yield from vm.gate.alone()):
        return OPEN
    plain = vm.state is HvVmState.NORMAL and not vm.must_reset
    answer = yield from end_svm(vm) if plain else _end(store, vm)
    if not answer.succeeded:
        return refused(answer)
    yield from make_plain(vm)
    vm.state = vm_cell(VmEvent.UV_SVM_TERMINATE, vm.state).next_state
    vm.must_abort = vm.abort_due = vm.must_reset = False
    return DONE


def _end(store: Store, vm: Vm) -> Operation[Answer]:
    """Unregister the slots, end the SVM with those that are busy, write the VM's entry; stop at a refusal.

    Order: pages are dropped when there is no way back: a slot's own once it is unregistered, the rest once
    the SVM has ended or a part of it is gone. Then only reset and H_SVM_INIT_ABORT can follow.
    """
    known = [slot for slot in vm.slots if slot.registered]
    for slot in known:
        yield from unregister_if_idle(vm, slot)
    gone = any(not slot.registered for slot in known)
    answer = yield from end_svm(vm)
    if answer.succeeded or gone:
        vm.state, vm.must_abort = HvVmState.TRANSIENT, True
        yield from drop_secure(store, vm)
    if answer.succeeded:
        answer = yield from renew_pate(vm)
    return answer
