"""The steps of UV_ESM that talk to the Hypervisor and read the guest image.

Trust: everything the guest or the Hypervisor gives is copied into secure memory before it is looked at, and
decided upon there. The sizes and addresses of a device tree are claims until the slots bear them out.
"""

from functools import partial
from itertools import count
from typing import Final, TypeVar

from pef_kit.columns import gfn_set_of
from pef_kit.operations import Operation, Pause, Turn
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import PUSHING, Design
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import Esm
from pef_ultravisor.boot.blob import MalformedBlob, NoLockbox, TamperedBlob, open_blob
from pef_ultravisor.boot.device_tree import (
    DeviceTree,
    MalformedDeviceTree,
    Reservation,
    pack,
    parse,
    totalsize,
    with_reservations,
)
from pef_ultravisor.boot.image import Extent, GuestImage
from pef_ultravisor.boot.measurement import Digests, differing, measure
from pef_ultravisor.boot.pages import (
    EsmFailure,
    bring,
    brought,
    code_for,
    covering,
    forget_marks,
    held,
    refused,
)
from pef_ultravisor.from_guest.entering import Entering, Plan
from pef_ultravisor.gfn.columns import IMPORTED, Svm
from pef_ultravisor.memory.access import AccessFailure, guest_store
from pef_ultravisor.memory.in_flight import in_flight
from pef_ultravisor.sharing import Kind, in_parts, share
from pef_ultravisor.to_hypervisor.calls import Busy, Refused, request, request_once
from pef_ultravisor.to_hypervisor.eviction import make_room
from pef_ultravisor.to_hypervisor.faults import Unsettled

T = TypeVar("T")

HEADER: Final = 40
"""Bytes of a device tree's header."""
BLOB_LIMIT: Final = 16 << 20
RTAS_LIMIT: Final = 16 << 20
ROUNDS: Final = 4
"""How often H_SVM_INIT_DONE is made where the Hypervisor has too few device pages."""
BOUNCE: Final = {"RTAS": 6, "TPM": 1}
"""Pages by which the SVM is heard by RTAS (arguments, 4 buffers, stop-self) and by the TPM."""


def start(entering: Entering) -> Operation[None]:
    """Make H_SVM_INIT_START, in which the Hypervisor registers the slots and names its design (step 1)."""
    uv, svm = entering.uv, entering.svm
    try:
        reply = yield from request(svm, "H_SVM_INIT_START", SvmInitStart(svm.lpid))
    except Refused as refusal:
        if svm.too_large:
            raise EsmFailure(UCode.U_RETRY, "secure memory is too small for the VM") from None
        raise refused(refusal) from None
    named = reply.outputs.get("design", Design.TRACKED)
    if named not in {design.value for design in uv.designs}:
        raise EsmFailure(UCode.U_STATE, f"the Hypervisor has a design that is not allowed: {named!s:.32}")
    svm.design = Design(named)


def read_tree(entering: Entering) -> Operation[None]:
    """Bring the device tree, and plan by it what follows (step 2)."""
    uv, svm, fdt = entering.uv, entering.svm, entering.asked.fdt
    header = yield from brought(uv, svm, Extent(fdt, HEADER), UCode.U_P2, "the device tree")
    try:
        room = totalsize(header)
        whole = yield from brought(uv, svm, Extent(fdt, room), UCode.U_P2, "the device tree")
        entering.plan = planned(entering.asked, parse(whole), room)
    except MalformedDeviceTree as flaw:
        raise EsmFailure(UCode.U_P2, str(flaw)) from None


def planned(asked: Esm, tree: DeviceTree, room: int) -> Plan:
    """Find the image and places for the bounce pages; raise MalformedDeviceTree where the tree forbids it.

    `room`: bytes that the tree has in guest memory.
    """
    image = GuestImage.of(tree)
    avoid = [
        Extent(asked.fdt, room),
        Extent(asked.kernel_base, PAGE_SIZE),
        image.rtas,
        image.initrd,
        image.esm_blob,
        *(Extent(kept.address, kept.size) for kept in image.reservations),
    ]
    bounce = tuple(reserve(image.memory_end, pages, avoid) for pages in BOUNCE.values())
    kept = [Reservation(extent.start, extent.size) for extent in bounce]
    return Plan(image, bounce, pack(with_reservations(tree, kept), room=room, fill=True))


def reserve(memory_end: int, pages: int, avoid: list[Extent]) -> Extent:
    """Find `pages` pages that nothing uses, as high as can be; what is found is avoided from now on."""
    end = memory_end & ~(PAGE_SIZE - 1)
    while end >= pages * PAGE_SIZE:
        extent = Extent(end - pages * PAGE_SIZE, pages * PAGE_SIZE)
        obstacle = next((used for used in avoid if used.size and used.pages.overlaps(extent)), None)
        if obstacle is None:
            avoid.append(extent)
            return extent
        end = obstacle.pages.start
    raise EsmFailure(UCode.U_P2, "the device tree leaves no room for the Ultravisor's bounce pages")


def share_bounce_pages(entering: Entering) -> Operation[None]:
    """Share implicitly the pages by which the SVM is heard (step 3)."""
    for extent in needed(entering.plan).bounce:
        yield from share_extent(entering, extent, Kind.IMPLICIT, "a bounce page")


def share_rtas(entering: Entering) -> Operation[None]:
    """Bring the RTAS area, keep a copy to be measured, and share it in appearance (step 4)."""
    area = needed(entering.plan).image.rtas
    if area.size > RTAS_LIMIT:
        raise EsmFailure(UCode.U_P2, "the RTAS area is too large")
    entering.rtas = yield from brought(entering.uv, entering.svm, area, UCode.U_P2, "the RTAS area")
    yield from share_extent(entering, area, Kind.PSEUDO, "the RTAS area")


def share_extent(entering: Entering, extent: Extent, kind: Kind, what: str) -> Operation[None]:
    """Share the pages of `extent`; raise EsmFailure where they can't be shared."""
    svm = entering.svm
    try:
        yield from share(entering.uv, svm, covering(svm, extent, UCode.U_P2, what), kind)
    except Unsettled as reason:
        raise EsmFailure(code_for(reason), f"{what} can't be shared: {reason}") from None


def bring_initrd(entering: Entering) -> Operation[None]:
    """Bring the initrd (step 5)."""
    initrd = needed(entering.plan).image.initrd
    yield from bring(entering.uv, entering.svm, covering(entering.svm, initrd, UCode.U_P2, "the initrd"))


def read_blob(entering: Entering) -> Operation[None]:
    """Bring the ESM blob and open it with this machine's key (steps 6-7)."""
    uv, extent = entering.uv, needed(entering.plan).image.esm_blob
    if extent.size > BLOB_LIMIT:
        raise EsmFailure(UCode.U_PARAMETER, "the ESM blob is too large")
    sealed = yield from brought(uv, entering.svm, extent, UCode.U_PARAMETER, "the ESM blob")
    try:
        entering.blob = open_blob(sealed, uv.machine_key)
    except NoLockbox as reason:
        raise EsmFailure(UCode.U_NO_KEY, str(reason)) from None
    except (MalformedBlob, TamperedBlob) as reason:
        raise EsmFailure(UCode.U_PERMISSION, str(reason)) from None


def measure_kernel(entering: Entering) -> Operation[None]:
    """Bring the kernel, and compare what was brought with what the blob promises (step 8)."""
    uv, svm = entering.uv, entering.svm
    image, blob = needed(entering.plan).image, needed(entering.blob)
    kernel = Extent(entering.asked.kernel_base, blob.kernel_size)
    kernel_pages = covering(svm, kernel, UCode.U_PARAMETER, "the kernel")
    yield from bring(uv, svm, kernel_pages)
    initrd_pages = covering(svm, image.initrd, UCode.U_P2, "the initrd")
    digest = partial(measure, kernel=b"", bootargs=image.bootargs, rtas=entering.rtas)
    with_initrd = yield from held(uv, svm, initrd_pages, image.initrd, lambda content: digest(initrd=content))
    with_kernel = yield from held(
        uv,
        svm,
        kernel_pages,
        kernel,
        lambda content: measure(kernel=content, initrd=b"", bootargs=b"", rtas=b""),
    )
    found = Digests(with_kernel.kernel, with_initrd.initrd, with_initrd.bootargs, with_initrd.rtas)
    wrong = differing(found, blob.digests)
    if wrong:
        raise EsmFailure(UCode.U_PERMISSION, f"not what the ESM blob promises: {', '.join(wrong)}")


def bring_rest(entering: Entering) -> Operation[None]:
    """Bring, under `eager`, every GFN that nobody asked for yet."""
    if entering.svm.design is not Design.EAGER:
        return
    everything = [gfn_set_of(slot, 0, slot.count) for slot in entering.svm.slots]
    for place, part in enumerate(in_parts(everything)):
        if place:
            yield Turn()
        yield from bring(entering.uv, entering.svm, part)


def done(entering: Entering) -> Operation[None]:
    """Make H_SVM_INIT_DONE, in which the Hypervisor does with the rest what its design says (step 9).

    A Hypervisor that runs out of device pages says H_STATE; room is made and the call repeated. The room is
    kept for the rest from before the call on, for with its success those pages are ours. One more is kept
    where the Hypervisor sends what it will be refused: it needs a device page for that, too, until it is.
    """
    uv, svm = entering.uv, entering.svm
    too_few = 0
    for attempt in count():
        spare = int(svm.design in PUSHING and not uv.everything_fits)
        if not uv.everything_fits and not (yield from make_room(uv, rest_of(svm) + spare)):
            raise EsmFailure(UCode.U_RETRY, "secure memory is full")
        try:
            with in_flight(uv, svm, 0, (), room=spare):
                yield from _all_are_ours(svm)
        except Busy as busy:
            refusal: Refused = busy
        except Refused as few:
            if few.code is not HCode.H_STATE:
                raise refused(few) from None
            too_few, refusal = too_few + 1, few
        else:
            return
        if too_few == ROUNDS:
            raise EsmFailure(UCode.U_RETRY, "the Hypervisor can't take the rest of the VM's pages")
        if not (yield Pause(attempt)):
            raise refused(refusal)
    raise AssertionError


def _all_are_ours(svm: Svm) -> Operation[None]:
    """Make H_SVM_INIT_DONE once; every GFN counts as ours meanwhile, and from its success on."""
    svm.done_outstanding = svm.whole = True
    try:
        yield from request_once(svm, "H_SVM_INIT_DONE", SvmInitDone(svm.lpid))
    except BaseException:
        svm.whole = False
        raise
    finally:
        svm.done_outstanding = False


def rest_of(svm: Svm) -> int:
    """Count the pages that no H_SVM_PAGE_IN asked for."""
    return sum(slot.count - slot.away - slot.imported + slot.imported_away for slot in svm.slots)


def commit(entering: Entering) -> Operation[None]:
    """Make the VM secure: what was measured is as free as the rest from now on (step 10).

    Trust: no page of a secure VM bears IMPORTED at any time, for such a page goes back in clear.
    """
    svm = entering.svm
    yield from forget_marks(svm, IMPORTED)
    svm.state = UvVmState.SECURE
    if entering.blob is not None:
        svm.files.update((name, bytearray(content)) for name, content in entering.blob.files.items())


def write_tree_back(entering: Entering) -> Operation[None]:
    """Store the device tree, with the bounce pages reserved, where the guest looks for it."""
    tree = needed(entering.plan).edited_tree
    try:
        yield from guest_store(entering.uv, entering.svm.lpid, entering.asked.fdt, tree, patient=True)
    except AccessFailure as failure:
        raise EsmFailure(UCode.U_STATE, f"the device tree can't be written back: {failure}") from None


def needed(handed_on: T | None) -> T:
    """Return what an earlier step hands on; without that step there is no going on."""
    if handed_on is None:
        message = "a step of UV_ESM ran before the one whose outcome it needs"
        raise RuntimeError(message)
    return handed_on
