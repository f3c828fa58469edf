"""UV_ESM: a VM becomes a secure VM.

The phases are the firmware's, in its order: H_SVM_INIT_START; the device tree; bounce pages, shared
implicitly; the RTAS area, pseudo-shared; initrd; ESM blob; kernel; measurement; H_SVM_INIT_DONE; commit. A
phase goes on or raises `EsmFailure`. Then H_SVM_INIT_ABORT gives the VM its memory back, and the guest reads
the code.

Trust: everything the guest or the Hypervisor gives is copied into secure memory before it is looked at, and
decided upon there. The sizes and addresses of a device tree are claims until the slots bear them out.

Source: ultravisor.rst, UV_ESM; specification of the Ultravisor, section 3, minus D2b, D12, D16-D18;
decisions, "UV_ESM errors", "H_SVM_INIT_ABORT".
"""

from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Final

from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation, Phase, pause
from pef_kit.core.lease import Ended, leased
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design, DesignName
from pef_protocol.esm_blob import BLOB_LIMIT
from pef_protocol.http import Caller
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import Esm
from pef_ultravisor import checks
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.boot.blob import MalformedBlob, NoLockbox, OpenedBlob, open_blob
from pef_ultravisor.boot.device_tree import HEADER_SIZE, MalformedDeviceTree, totalsize
from pef_ultravisor.boot.image import BootPlan, EsmFailure, Extent
from pef_ultravisor.boot.measurement import Digests, differing, measure
from pef_ultravisor.boot.pages import (
    clear_imported,
    code_for,
    covering,
    import_all,
    import_extent,
    off_the_loop,
    read_extent,
    refused,
    restore_shared,
    unimported,
    with_pinned,
)
from pef_ultravisor.checks import GuestCall
from pef_ultravisor.from_guest.share_page import Commit, share
from pef_ultravisor.from_guest.store import store
from pef_ultravisor.from_hypervisor.svm_terminate import end_svm
from pef_ultravisor.gfn.columns import GfnSets
from pef_ultravisor.gfn.table import Event
from pef_ultravisor.in_flight import in_flight
from pef_ultravisor.machine_key import MachineKey, TamperedBlob
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.calls import Busy, Refused, request, request_once
from pef_ultravisor.to_hypervisor.eviction import make_room
from pef_ultravisor.to_hypervisor.faults import FaultError

FDT_ALIGNMENT: Final = 8
ROUNDS: Final = 4
"""How often H_SVM_INIT_DONE is made where the Hypervisor has too few device pages."""

CHECKS: Final = CheckOrder[GuestCall[Esm]](
    check_orders.ESM,
    {
        "caller": checks.from_vm_kernel,
        "kernel_base": lambda call: call.asked.kernel_base > 0 and call.asked.kernel_base % PAGE_SIZE == 0,
        "fdt": lambda call: call.asked.fdt > 0 and call.asked.fdt % FDT_ALIGNMENT == 0,
        "lpid": lambda call: call.uv.knows(call.lpid),
        "active": lambda call: not call.is_in(UvVmState.ACTIVE),
        "aborted": checks.is_not_aborted,
    },
)


def uv_esm(uv: Ultravisor, caller: Caller, asked: Esm) -> Operation[Reply]:
    """Answer UV_ESM: on success the guest goes on at `kernel_base` with its device tree at `fdt`."""
    # parameters
    call = GuestCall(uv, caller, asked)
    entry = {"kernel_base": asked.kernel_base, "fdt": asked.fdt}

    # checks
    refused = CHECKS.first_failing(call)
    if refused:
        return refuse(refused)
    if call.found is not None:  # the VM is secure already
        return Reply(UCode.U_SUCCESS, entry)

    # effect
    svm = uv.new_svm(call.lpid)
    failure = yield from enter(uv, svm, become_secure(uv, svm, asked))

    # reply
    return failure or Reply(UCode.U_SUCCESS, entry)


def enter(uv: Ultravisor, svm: Svm, phases: Operation[None]) -> Operation[Reply | None]:
    """Run the phases of UV_ESM under a lease on `svm`; where one fails, let the VM go on as a normal one.

    Return the reply of a failure, or None. All of it is one open call of `svm`.
    """
    svm.open_calls += 1
    try:
        try:
            yield from leased(phases, uv.epoch, svm.life)
        except EsmFailure as reason:
            failure = EsmFailure(reason.code, str(reason))
        except Ended as ended:
            if ended.life is not svm.life:
                raise
            return Reply(UCode.U_STATE, detail=str(ended))
        else:
            return None
        yield Phase("give up", failure)
        return (yield from give_up(uv, svm, failure))
    finally:
        svm.open_calls -= 1


def become_secure(uv: Ultravisor, svm: Svm, asked: Esm) -> Operation[None]:
    """Do what makes a VM secure, phase by phase; raise EsmFailure where that can't be."""
    yield from start(uv, svm)

    yield Phase("device tree")
    fdt: bytes = yield from read_extent(
        uv, svm, Extent(asked.fdt, HEADER_SIZE), UCode.U_P2, "the device tree"
    )
    try:
        whole = Extent(asked.fdt, totalsize(fdt))
        fdt = yield from read_extent(uv, svm, whole, UCode.U_P2, "the device tree")
        plan: BootPlan = yield from off_the_loop(len(fdt), lambda: BootPlan.of(asked, fdt))
    except MalformedDeviceTree as flaw:
        raise EsmFailure(UCode.U_P2, str(flaw)) from None
    image = plan.image

    yield Phase("bounce pages")
    for extent in plan.bounce:
        yield from share_extent(uv, svm, extent, Event.COMMIT_IMPLICIT, "a bounce page")

    yield Phase("RTAS area")
    rtas: bytes = yield from read_extent(uv, svm, image.rtas, UCode.U_P2, "the RTAS area")
    yield from share_extent(uv, svm, image.rtas, Event.COMMIT_PSEUDO, "the RTAS area")

    yield Phase("initrd")
    initrd: GfnSets = yield from import_extent(uv, svm, image.initrd, UCode.U_P2, "the initrd")

    yield Phase("ESM blob")
    if image.esm_blob.size > BLOB_LIMIT:
        raise EsmFailure(UCode.U_PARAMETER, "the ESM blob is too large")
    sealed: bytes = yield from read_extent(uv, svm, image.esm_blob, UCode.U_PARAMETER, "the ESM blob")
    blob: OpenedBlob = yield from off_the_loop(len(sealed), lambda: opened(sealed, uv.machine_key))

    yield Phase("kernel")
    kernel = Extent(asked.kernel_base, blob.kernel_size)
    plan.keep_out_of(kernel)
    kernel_pages: GfnSets = yield from import_extent(uv, svm, kernel, UCode.U_PARAMETER, "the kernel")
    of_initrd = partial(measure, kernel=b"", bootargs=image.bootargs, rtas=rtas)
    of_kernel = partial(measure, initrd=b"", bootargs=b"", rtas=b"")
    first: Digests = yield from with_pinned(
        uv, svm, initrd, image.initrd, lambda content: of_initrd(initrd=content)
    )
    second: Digests = yield from with_pinned(
        uv, svm, kernel_pages, kernel, lambda content: of_kernel(kernel=content)
    )
    wrong = differing(Digests(second.kernel, first.initrd, first.bootargs, first.rtas), blob.digests)
    if wrong:
        raise EsmFailure(UCode.U_PERMISSION, f"not what the ESM blob promises: {', '.join(wrong)}")

    yield Phase("every other GFN")
    yield from import_all(uv, svm)

    # Order: nothing comes between H_SVM_INIT_DONE's answer and the commit, for then every GFN is ours.
    yield Phase("commit")
    yield from done(uv, svm)
    yield from commit(svm, blob.files)
    yield from write_tree_back(uv, svm, asked, plan.edited_tree)


def start(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """Make H_SVM_INIT_START, in which the Hypervisor registers the slots and names its design."""
    try:
        reply: Reply = yield from request(svm, "H_SVM_INIT_START", SvmInitStart(svm.lpid))
    except Refused as refusal:
        if svm.too_large:
            raise EsmFailure(UCode.U_RETRY, "secure memory is too small for the VM") from None
        raise refused(refusal) from None
    named = DesignName(reply.outputs.get("design", Design.TRACKED))
    if named not in uv.designs:
        raise EsmFailure(UCode.U_STATE, f"design {named:.32} is none of {', '.join(sorted(uv.designs))}")
    svm.design = named


def share_extent(uv: Ultravisor, svm: Svm, extent: Extent, commit: Commit, what: str) -> Operation[None]:
    """Share the pages of `extent`; raise EsmFailure where they can't be shared."""
    try:
        yield from share(uv, svm, covering(svm, extent, UCode.U_P2, what), commit)
    except FaultError as reason:
        raise EsmFailure(code_for(reason), f"{what} can't be shared: {reason}") from None


def opened(sealed: bytes, key: MachineKey) -> OpenedBlob:
    """Open an ESM blob with this machine's key; raise EsmFailure where that can't be."""
    try:
        return open_blob(sealed, key)
    except NoLockbox as reason:
        raise EsmFailure(UCode.U_NO_KEY, str(reason)) from None
    except (MalformedBlob, TamperedBlob) as reason:
        raise EsmFailure(UCode.U_PERMISSION, str(reason)) from None


def done(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """Make H_SVM_INIT_DONE, in which the Hypervisor does with the rest what its design says.

    A Hypervisor that runs out of device pages says H_STATE; room is made and the call repeated. The room is
    kept for the rest from before the call on, for with its success those pages are ours. One more is kept
    where the Hypervisor sends what it will be refused: it needs a device page for that, too, until it is.
    """
    too_few = 0
    for attempt in count():
        spare = int(svm.settings.needs_spare_page and not uv.everything_fits)
        if not uv.everything_fits and not (yield from make_room(uv, unimported(svm) + spare)):
            raise EsmFailure(UCode.U_RETRY, "secure memory is full")
        svm.done_outstanding = svm.whole = True  # every GFN counts as ours, and does from the success on
        try:
            with in_flight(uv, svm, 0, (), room=spare):
                yield from request_once(svm, "H_SVM_INIT_DONE", SvmInitDone(svm.lpid))
        except Refused as refusal:
            svm.whole = False
            if not isinstance(refusal, Busy) and refusal.code is not HCode.H_STATE:
                raise refused(refusal) from None
            too_few, last = too_few + (not isinstance(refusal, Busy)), refusal
        except BaseException:
            svm.whole = False
            raise
        else:
            return
        finally:
            svm.done_outstanding = False
        if too_few == ROUNDS:
            raise EsmFailure(UCode.U_RETRY, "the Hypervisor can't take the rest of the VM's pages")
        if not (yield from pause(attempt)):
            raise refused(last)
    raise AssertionError


def commit(svm: Svm, files: Mapping[str, bytes]) -> Operation[None]:
    """Make the VM secure, with the files of its ESM blob. What was measured is no longer frozen.

    Trust: no page of a secure VM bears IMPORTED at any time, for such a page goes back in clear.
    """
    yield from clear_imported(svm)
    svm.state = UvVmState.SECURE
    svm.files.update((name, bytearray(content)) for name, content in files.items())


def write_tree_back(uv: Ultravisor, svm: Svm, asked: Esm, tree: bytes) -> Operation[None]:
    """Store the device tree, with the bounce pages reserved, where the guest looks for it."""
    try:
        yield from store(uv, svm, asked.fdt, tree, ignore_deadline=True)
    except AccessFailure as failure:
        raise EsmFailure(UCode.U_STATE, f"the device tree can't be written back: {failure}") from None


def give_up(uv: Ultravisor, svm: Svm, failure: EsmFailure) -> Operation[Reply]:
    """Let the VM go on as a normal one, end the SVM where that was done, and return the reply."""
    left = ""
    try:
        left = yield from leased(restore_normal_vm(uv, svm), uv.epoch, svm.life)
    except Ended as ended:
        if ended.life is not svm.life:
            raise
    if not left and svm.life.alive:  # else who ended it has it scrubbed
        yield from end_svm(uv, svm)
    return Reply(failure.code, detail=f"{failure}{left}")


def restore_normal_vm(uv: Ultravisor, svm: Svm) -> Operation[str]:
    """Have the Hypervisor take the VM back by H_SVM_INIT_ABORT; return what there is to add to the reason.

    Where that is nothing, the SVM is to be ended. A VM that is secure already can't go back: it is aborted
    and waits for UV_SVM_TERMINATE. So does one whose Hypervisor refuses.
    """
    was_secure = svm.state is UvVmState.SECURE
    svm.state = UvVmState.ABORT
    if was_secure:
        return "; the SVM is aborted"
    yield from restore_shared(uv, svm)
    try:
        yield from request(svm, "H_SVM_INIT_ABORT", SvmInitAbort(svm.lpid), ignore_deadline=True)
    except Refused as answer:
        if answer.code not in {HCode.H_PARAMETER, HCode.H_UNSUPPORTED}:
            return f"; {answer}: the SVM waits for UV_SVM_TERMINATE"
    return ""
