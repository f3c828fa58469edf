"""What the three hypercalls about a whole VM have in common: who asks, and for which VM."""

from dataclasses import dataclass
from typing import Final

from pef_hypervisor.gfn.table import VmEvent, vm_cell
from pef_hypervisor.state import Store, Vm
from pef_kit.core.life import OtherIncarnation
from pef_protocol.codes import HCode
from pef_protocol.identity import Incarnation
from pef_protocol.states import HvVmState
from pef_protocol.wire import Caller, Role

BUSY: Final = "another operation has the whole VM"
MUST_RESET: Final = "the VM must be reset"


@dataclass(frozen=True, slots=True)
class WholeVm:
    """A hypercall about one VM."""

    caller: Caller
    store: Store
    vm: Vm | None


def asked_for(store: Store, caller: Caller, lpid: int) -> WholeVm:
    """Return who asks, and for which VM."""
    return WholeVm(caller, store, store.vms.get(lpid))


def from_ultravisor(asked: WholeVm) -> bool:
    """Check rung `caller`."""
    return asked.caller.role is Role.ULTRAVISOR


def allowed(asked: WholeVm, event: VmEvent) -> bool:
    """Tell whether the VM table lets `event` happen, rather than refuse it with H_STATE."""
    return asked.vm is not None and vm_cell(event, asked.vm.state).code is not HCode.H_STATE


def busy(vm: Vm, *, exclusive: bool = False) -> str:
    """Say why a hypercall, or an `exclusive` one, is answered with H_BUSY; "" where it is served."""
    if vm.gate.taken if exclusive else vm.gate.closed:
        return BUSY
    return MUST_RESET if vm.must_reset else ""


def require_meant(vm: Vm, caller: Caller, *, starts: bool) -> None:
    """Raise OtherIncarnation where a hypercall means another SVM than the one that stands behind the VM.

    One that `starts` an SVM must mean a later one than any that began or was ended before. A normal VM has
    none: what is asked for an SVM of the past is refused by the ladder, with nothing done. While the gate is
    closed everything is busy, also for an SVM that has begun since a reset ended the one before.
    """
    meant, known, earliest = caller.incarnation, vm.svm_incarnation, vm.next_svm
    if caller.role is not Role.ULTRAVISOR or meant is None:
        return
    later = _later(meant, known)
    if starts:
        right = later and (earliest in {None, meant} or _later(meant, earliest))
    else:
        nothing_done = vm.state is HvVmState.NORMAL and not vm.abort_due
        right = known in {None, meant} or nothing_done or (later and vm.gate.closed)
    if not right:
        message = f"the SVM of VM {vm.lpid} is {known}, the next is {earliest} or later, not {meant}"
        raise OtherIncarnation(message)


def _later(one: Incarnation, other: Incarnation | None) -> bool:
    return other is None or (one.instance == other.instance and one > other)


def learn_svm(vm: Vm, caller: Caller) -> None:
    """Note which SVM a H_SVM_INIT_START was for."""
    if caller.incarnation is not None:
        vm.svm_incarnation = caller.incarnation
