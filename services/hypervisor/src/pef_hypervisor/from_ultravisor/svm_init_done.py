"""H_SVM_INIT_DONE: the Ultravisor has all it needs; the VM becomes secure.

Source: Documentation/powerpc/ultravisor.rst, H_SVM_INIT_DONE;
specification of the Hypervisor, sections 3 to 5.
"""

from typing import Final

from pef_hypervisor.checks import Hypercall, allowed, from_ultravisor, why_busy
from pef_hypervisor.gfn.table import GfnEvent, VmEvent, vm_cell
from pef_hypervisor.memory.migrate_remaining import migrate_remaining
from pef_hypervisor.state import Store
from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.http import Caller
from pef_protocol.hypercalls import SvmInitDone
from pef_protocol.states import HvVmState


def started(call: Hypercall) -> bool:
    """Check `started`; a failed H_SVM_INIT_START is for the next check."""
    return vm_cell(VmEvent.INIT_DONE, call.vm.state).code is not HCode.H_UNSUPPORTED


CHECKS: Final = CheckOrder[Hypercall](
    check_orders.SVM_INIT_DONE,
    {
        "caller": from_ultravisor,
        "started": started,
        "state": lambda call: allowed(call, VmEvent.INIT_DONE) and not call.vm.must_abort,
    },
)


def svm_init_done(store: Store, caller: Caller, request: SvmInitDone) -> Operation[Reply]:
    """Treat the unmigrated GFNs as the design says, and call the VM secure.

    Where a GFN can't be secured the answer is H_STATE, or H_BUSY: those that were stay so, the VM stays
    transient, and the call can be made again. Where device pages are short nothing was done.
    """
    # parameters
    call = Hypercall(store, caller, request)
    vm = call.vm

    # checks
    failed = CHECKS.first_failing(call)
    if failed is not None:
        return refuse(failed)
    if why := why_busy(vm, exclusive=True):
        return Reply(HCode.H_BUSY, detail=why)

    # effect
    with vm.gate.held("H_SVM_INIT_DONE") as turn:
        migrating = migrate_remaining(store, vm, vm.slots, GfnEvent.INIT_DONE)
        obstacle = yield from store.leased(vm, turn, migrating)
        if not obstacle and not vm.must_reset:
            vm.state = vm_cell(VmEvent.INIT_DONE, vm.state).next_state

    # reply
    if vm.state is HvVmState.SECURE:
        return Reply(HCode.H_SUCCESS)
    return Reply(HCode.H_BUSY if obstacle.busy else HCode.H_STATE, detail=obstacle.why)
