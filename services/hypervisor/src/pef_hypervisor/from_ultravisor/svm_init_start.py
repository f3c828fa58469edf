"""H_SVM_INIT_START: a VM begins to become secure; register its slots.

Source: Documentation/powerpc/ultravisor.rst, H_SVM_INIT_START;
specification of the Hypervisor, sections 3, 5, 6.
"""

from typing import Final

from pef_hypervisor.from_ultravisor.whole_vm import (
    WholeVm,
    allowed,
    asked_for,
    busy,
    from_ultravisor,
    learn_svm,
)
from pef_hypervisor.gfn.columns import VmSlot
from pef_hypervisor.gfn.table import VmEvent, vm_cell
from pef_hypervisor.memory.slots import register, unregister
from pef_hypervisor.state import Store, Vm
from pef_kit.ladder import Ladder
from pef_kit.operations import Operation
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.hypercalls import SvmInitStart
from pef_protocol.states import HvVmState
from pef_protocol.wire import Caller

LADDER: Final = Ladder[WholeVm](
    ladders.SVM_INIT_START,
    {
        "caller": from_ultravisor,
        "lpid": lambda asked: asked.vm is not None,
        "state": lambda asked: allowed(asked, VmEvent.INIT_START),
        "secure_memory": lambda asked: asked.store.pool.size > 0,
        "radix": lambda asked: asked.vm is not None and asked.vm.radix,
        "authority": lambda asked: asked.vm is not None and asked.vm.secure_guest,
    },
)
DENIALS: Final = frozenset({"secure_memory", "radix", "authority"})
"""Rungs that refuse a VM which exists and is normal: the Ultravisor has begun an SVM for it."""


def svm_init_start(store: Store, caller: Caller, request: SvmInitStart) -> Operation[Reply]:
    """Register every slot, by descending base; answer with the VM's design.

    Where a slot can't be registered those before it are unregistered in reverse, and the VM waits for
    H_SVM_INIT_ABORT. Where the first message is refused as a whole, the SVM may be over: the VM is a normal
    one, as after a denial.
    """
    # parameters
    asked = asked_for(store, caller, request.lpid)
    vm = asked.vm

    # checks
    rung = LADDER.climb(asked)
    if rung is not None or vm is None:
        if rung is not None and vm is not None and rung.name in DENIALS:
            vm.abort_due = True
            learn_svm(vm, caller)
        return Reply(HCode(rung.code if rung else HCode.H_PARAMETER))
    if why := busy(vm, exclusive=True):
        return Reply(HCode.H_BUSY, detail=why)

    # effect
    with vm.gate.held("H_SVM_INIT_START") as turn:
        vm.state = vm_cell(VmEvent.INIT_START, vm.state).then
        vm.must_abort, vm.abort_due = True, False
        learn_svm(vm, caller)
        complaint = yield from store.leased(vm, turn, _register_all(vm))
        vm.must_abort = bool(complaint) and vm.state is HvVmState.TRANSIENT

    # reply
    if complaint:
        return Reply(HCode.H_PARAMETER, detail=complaint)
    return Reply(HCode.H_SUCCESS, {"design": vm.rules.design.value})


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
