"""H_SVM_INIT_ABORT: the VM could not become secure; it goes on as a normal VM.

Source: Documentation/powerpc/ultravisor.rst, H_SVM_INIT_ABORT;
specification of the Hypervisor, sections 3, 5;
decisions, "H_SVM_INIT_ABORT".
"""

from typing import Final

from pef_hypervisor.checks import Hypercall, allowed, from_ultravisor, why_busy
from pef_hypervisor.gfn.table import VmEvent, vm_cell
from pef_hypervisor.memory.restore import restore_cleartext
from pef_hypervisor.memory.slots import make_plain
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import Obstacle, end_svm
from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.http import Caller
from pef_protocol.hypercalls import SvmInitAbort


def started(call: Hypercall) -> bool:
    """Check `started`: a failed or a denied H_SVM_INIT_START is enough."""
    return call.vm.abort_due or vm_cell(VmEvent.INIT_ABORT, call.vm.state).code is not HCode.H_UNSUPPORTED


CHECKS: Final = CheckOrder[Hypercall](
    check_orders.SVM_INIT_ABORT,
    {
        "caller": from_ultravisor,
        "started": started,
        "state": lambda call: allowed(call, VmEvent.INIT_ABORT),
    },
)


def svm_init_abort(store: Store, caller: Caller, request: SvmInitAbort) -> Operation[Reply]:
    """Get the VM's memory back in clear, end its SVM, and answer H_PARAMETER.

    A page that the Ultravisor refuses to give reads as zero; `detail` counts those. Where the SVM can't be
    ended, or a message about its pages is refused, the code is H_STATE and the call can be made again, as
    after H_BUSY.
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
    with vm.gate.aborting("H_SVM_INIT_ABORT") as turn:
        reply = yield from store.leased(vm, turn, _abort(store, vm))

    # reply
    return reply


def _abort(store: Store, vm: Vm) -> Operation[Reply]:
    """Wait for what is open, get the memory back, end the SVM, and call the VM normal."""
    if not (yield from vm.gate.alone()):
        return Reply(HCode.H_BUSY, detail="calls of this VM are still open")
    vm.must_abort = not vm.abort_due
    lost, obstacle = yield from restore_cleartext(store, vm)
    if not obstacle:
        ended = yield from end_svm(vm, vm.svm_incarnation)
        obstacle = Obstacle("" if ended.succeeded else ended.detail, busy=ended.code is UCode.U_BUSY)
    if obstacle or vm.must_reset:
        return Reply(HCode.H_BUSY if obstacle.busy else HCode.H_STATE, detail=obstacle.why)
    yield from make_plain(vm)
    vm.state = vm_cell(VmEvent.UV_SVM_TERMINATE, vm.state).next_state
    vm.must_abort = vm.abort_due = False
    return Reply(HCode.H_PARAMETER, detail=f"{lost} pages were refused, and read as zero" if lost else "")
