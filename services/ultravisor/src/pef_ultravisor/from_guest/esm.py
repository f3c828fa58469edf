"""UV_ESM: a VM becomes a secure VM.

The steps are the firmware's, in its order: H_SVM_INIT_START; the device tree; bounce pages, shared
implicitly; the RTAS area, pseudo-shared; initrd; ESM blob; kernel; measurement; H_SVM_INIT_DONE; commit.
Every step either goes on or raises `EsmFailure`; then H_SVM_INIT_ABORT gives the VM its memory back and the
guest reads the code.

Source: ultravisor.rst, UV_ESM; specification of the Ultravisor, section 3, minus D2b, D12, D16-D18;
decisions, "UV_ESM errors", "H_SVM_INIT_ABORT".
"""

from typing import Final

import numpy as np

from pef_kit.ladder import Ladder
from pef_kit.operations import Operation, PeerFailure
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.hypercalls import SvmInitAbort
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import Esm
from pef_protocol.wire import Caller
from pef_ultravisor.frames import IMPORTED, MOVING, Svm
from pef_ultravisor.from_guest.accesses import AccessFailure, guest_store
from pef_ultravisor.from_guest.esm_steps import done, read_tree, secured_image, start
from pef_ultravisor.from_guest.guest_calls import GuestCall, from_vm_kernel
from pef_ultravisor.machine import Ultravisor
from pef_ultravisor.necessary_set import EsmFailure, forget_marks
from pef_ultravisor.requests import Refused, request
from pef_ultravisor.transfers import Pages, giving_back

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


def uv_esm(uv: Ultravisor, caller: Caller, asked: Esm) -> Operation[Reply]:
    """Answer UV_ESM: on success the guest goes on at `kernel_base` with its device tree at `fdt`."""
    # parameters
    call = GuestCall(uv, caller, asked)
    entry = {"kernel_base": asked.kernel_base, "fdt": asked.fdt}

    # checks
    refused = LADDER.climb(call)
    if refused:
        return Reply(refused.code)
    if call.svm is not None:
        return Reply(UCode.U_SUCCESS, entry)

    # effect
    svm = uv.new_svm(call.lpid)
    svm.open_calls += 1
    try:
        yield from enter_secure_mode(uv, svm, asked)
    except EsmFailure as failure:
        left = yield from go_on_as_normal_vm(uv, svm)
        return Reply(failure.code, detail=f"{failure}{left}")
    finally:
        svm.open_calls -= 1

    # reply
    return Reply(UCode.U_SUCCESS, entry)


def enter_secure_mode(uv: Ultravisor, svm: Svm, asked: Esm) -> Operation[None]:
    """Go through the steps of UV_ESM; raise EsmFailure where one fails."""
    yield from start(uv, svm)
    tree, room = yield from read_tree(uv, svm, asked.fdt)
    edited_tree, files = yield from secured_image(uv, svm, asked, tree, room)
    yield from done(uv, svm)
    svm.state = UvVmState.SECURE
    forget_marks(svm, IMPORTED)
    svm.files.update(files)
    try:
        yield from guest_store(uv, svm.lpid, asked.fdt, edited_tree)
    except AccessFailure as failure:
        raise EsmFailure(UCode.U_STATE, f"the device tree can't be written back: {failure}") from None


def go_on_as_normal_vm(uv: Ultravisor, svm: Svm) -> Operation[str]:
    """Have the Hypervisor take the VM back by H_SVM_INIT_ABORT; return what there is to add to the reason.

    A VM that is secure already can't go back: it is aborted and waits for UV_SVM_TERMINATE. So does one whose
    Hypervisor does not answer.
    """
    if not svm.alive:
        return ""
    was_secure = svm.state is UvVmState.SECURE
    svm.state = UvVmState.ABORT
    if was_secure:
        return "; the SVM is aborted"
    yield from give_back_shared(svm)
    try:
        yield from request("H_SVM_INIT_ABORT", SvmInitAbort(svm.lpid))
    except Refused as answer:
        if answer.code not in {HCode.H_PARAMETER, HCode.H_UNSUPPORTED}:
            return f"; {answer}: the SVM waits for UV_SVM_TERMINATE"
    if svm.alive:
        uv.release(svm)
    return ""


def give_back_shared(svm: Svm) -> Operation[None]:
    """Give imported pages that were pseudo-shared back to the normal pages behind them, which are zero.

    The other imported pages go back by UV_PAGE_OUT, for which the Hypervisor asks.
    """
    for slot in svm.slots:
        offsets = np.flatnonzero((slot.state == S.PSEUDO_SHARED) & slot.marked(slice(None), IMPORTED))
        if not len(offsets):
            continue
        slot.mark(offsets, MOVING)
        svm.open_calls += 1
        try:
            yield giving_back(Pages(slot, offsets, slot.normal[offsets].astype(np.int64)))
        except PeerFailure:
            continue
        finally:
            slot.unmark(offsets, MOVING)
            svm.open_calls -= 1
