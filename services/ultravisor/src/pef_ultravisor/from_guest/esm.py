"""UV_ESM: a VM becomes a secure VM.

The steps are the firmware's, in its order: H_SVM_INIT_START; the device tree; bounce pages, shared
implicitly; the RTAS area, pseudo-shared; initrd; ESM blob; kernel; measurement; H_SVM_INIT_DONE; commit.
Every step either goes on or raises `EsmFailure`; then H_SVM_INIT_ABORT gives the VM its memory back and the
guest reads the code.

Source: ultravisor.rst, UV_ESM; specification of the Ultravisor, section 3, minus D2b, D12, D16-D18;
decisions, "UV_ESM errors", "H_SVM_INIT_ABORT".
"""

from typing import Final

from pef_kit.ladder import Ladder
from pef_kit.operations import Operation
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import Esm
from pef_protocol.wire import Caller
from pef_ultravisor.from_guest import esm_steps
from pef_ultravisor.from_guest.entering import Entering, Step, together
from pef_ultravisor.from_guest.guest_calls import GuestCall, from_vm_kernel
from pef_ultravisor.state import Ultravisor

FDT_ALIGNMENT: Final = 8


def is_not_active(call: GuestCall) -> bool:
    """Pass a VM whose UV_ESM is not open."""
    return call.svm is None or call.svm.state is not UvVmState.ACTIVE


def is_not_aborted(call: GuestCall) -> bool:
    """Pass a VM that is not aborted."""
    return call.svm is None or call.svm.state is not UvVmState.ABORT


LADDER: Final = Ladder[GuestCall](
    ladders.ESM,
    {
        "caller": from_vm_kernel,
        "kernel_base": lambda call: call.asked.kernel_base > 0 and call.asked.kernel_base % PAGE_SIZE == 0,
        "fdt": lambda call: call.asked.fdt > 0 and call.asked.fdt % FDT_ALIGNMENT == 0,
        "lpid": lambda call: call.uv.knows(call.lpid),
        "active": is_not_active,
        "aborted": is_not_aborted,
    },
)


STEPS: Final[tuple[Step, ...]] = (
    esm_steps.start,
    esm_steps.read_tree,
    esm_steps.share_bounce_pages,
    esm_steps.share_rtas,
    esm_steps.bring_initrd,
    esm_steps.read_blob,
    esm_steps.measure_kernel,
    esm_steps.bring_rest,
    together(esm_steps.done, esm_steps.commit, esm_steps.write_tree_back),
)
"""Order: no step comes between H_SVM_INIT_DONE's answer and the commit, for then every GFN is ours."""


def uv_esm(uv: Ultravisor, caller: Caller, asked: Esm) -> Operation[Reply]:
    """Answer UV_ESM: on success the guest goes on at `kernel_base` with its device tree at `fdt`."""
    # parameters
    call = GuestCall(uv, caller, asked)

    # checks
    refused = LADDER.climb(call)
    if refused:
        return Reply(refused.code)
    if call.svm is not None:
        return Reply(UCode.U_SUCCESS, {"kernel_base": asked.kernel_base, "fdt": asked.fdt})

    # effect
    entering = Entering.begin(uv, uv.new_svm(call.lpid), asked, STEPS)
    try:
        while entering.reply is None:
            yield from entering.next_phase()
    finally:
        entering.end()

    # reply
    return entering.reply
