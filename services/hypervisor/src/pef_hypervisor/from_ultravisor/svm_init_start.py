"""H_SVM_INIT_START: a VM begins to become secure; register its slots.

Source: Documentation/powerpc/ultravisor.rst, H_SVM_INIT_START;
specification of the Hypervisor, sections 3, 5, 6.
"""

from typing import Final

from pef_hypervisor.checks import Hypercall, allowed, from_ultravisor, why_busy
from pef_hypervisor.gfn.columns import VmSlot
from pef_hypervisor.gfn.table import VmEvent, vm_cell
from pef_hypervisor.memory.slots import register, unregister
from pef_hypervisor.state import Store, Vm
from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.http import Caller
from pef_protocol.hypercalls import SvmInitStart
from pef_protocol.states import HvVmState

CHECKS: Final = CheckOrder[Hypercall](
    check_orders.SVM_INIT_START,
    {
        "caller": from_ultravisor,
        "lpid": lambda call: call.vm.life.alive,
        "state": lambda call: allowed(call, VmEvent.INIT_START),
        "secure_memory": lambda call: call.store.pool.size > 0,
        "radix": lambda call: call.vm.radix,
        "authority": lambda call: call.vm.secure_guest,
    },
)
DENIALS: Final = frozenset({"secure_memory", "radix", "authority"})
"""Checks that refuse a VM which exists and is normal: the Ultravisor has begun an SVM for it."""


def svm_init_start(store: Store, caller: Caller, request: SvmInitStart) -> Operation[Reply]:
    """Register every slot, by descending base; answer with the VM's design.

    Where a slot can't be registered those before it are unregistered in reverse, and the VM waits for
    H_SVM_INIT_ABORT. Where the first message is refused as a whole, the SVM may be over: the VM is a normal
    one, as after a denial.
    """
    # parameters
    call = Hypercall(store, caller, request)
    vm = call.vm

    # checks
    failed = CHECKS.first_failing(call)
    if failed is not None:
        if failed.name in DENIALS:
            vm.abort_due = True
            _learn_svm(vm, caller)
        return refuse(failed)
    if why := why_busy(vm, exclusive=True):
        return Reply(HCode.H_BUSY, detail=why)

    # effect
    with vm.gate.held("H_SVM_INIT_START") as turn:
        vm.state = vm_cell(VmEvent.INIT_START, vm.state).next_state
        vm.must_abort, vm.abort_due = True, False
        _learn_svm(vm, caller)
        complaint = yield from store.leased(vm, turn, _register_all(vm))
        vm.must_abort = bool(complaint) and vm.state is HvVmState.TRANSIENT

    # reply
    if complaint:
        return Reply(HCode.H_PARAMETER, detail=complaint)
    return Reply(HCode.H_SUCCESS, {"design": vm.design.name})


def _learn_svm(vm: Vm, caller: Caller) -> None:
    """Note which SVM the call was for."""
    if caller.incarnation is not None:
        vm.svm_incarnation = caller.incarnation


def _register_all(vm: Vm) -> Operation[str]:
    made: list[VmSlot] = []
    for slot in vm.slots:
        answer = yield from register(vm, slot)
        if not answer.succeeded:
            if answer.unmade and not made:
                vm.state, vm.abort_due = HvVmState.NORMAL, True
            for earlier in reversed(made):
                yield from unregister(vm, earlier)
            return answer.detail
        made.append(slot)
    return ""
