"""The steps of UV_ESM that talk to the Hypervisor and read the guest image.

Trust: everything the guest or the Hypervisor gives is copied into secure memory before it is looked at, and
decided upon there. The sizes and addresses of a device tree are claims until the slots bear them out.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

import numpy as np

from pef_kit.operations import Operation
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.hypercalls import SvmInitDone, SvmInitStart
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.ultracalls import Esm
from pef_ultravisor.device_tree import (
    DeviceTree,
    MalformedDeviceTree,
    Reservation,
    pack,
    parse,
    totalsize,
    with_reservations,
)
from pef_ultravisor.esm_blob import MalformedBlob, NoLockbox, OpenedBlob, TamperedBlob, open_blob
from pef_ultravisor.eviction import ROUNDS, make_room
from pef_ultravisor.faults import Unsettled
from pef_ultravisor.frames import Svm
from pef_ultravisor.guest_image import Extent, GuestImage
from pef_ultravisor.machine import Ultravisor
from pef_ultravisor.measurement import Digests, differing, measure
from pef_ultravisor.necessary_set import (
    EsmFailure,
    bring,
    brought,
    covering,
    held,
    left_overs,
    not_imported,
)
from pef_ultravisor.requests import Refused, request
from pef_ultravisor.sharing import Kind, share

HEADER: Final = 40
"""Bytes of a device tree's header."""
BLOB_LIMIT: Final = 16 << 20
RTAS_LIMIT: Final = 16 << 20
BOUNCE: Final = {"RTAS": 6, "TPM": 1}
"""Pages by which the SVM is heard by RTAS (arguments, 4 buffers, stop-self) and by the TPM."""


def start(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """Make H_SVM_INIT_START, in which the Hypervisor registers the slots and names its design (step 1)."""
    try:
        reply = yield from request("H_SVM_INIT_START", SvmInitStart(svm.lpid))
    except Refused as refusal:
        raise EsmFailure(UCode.U_STATE, str(refusal)) from None
    if not svm.alive:
        raise EsmFailure(UCode.U_STATE, "the SVM was terminated")
    named = reply.outputs.get("design", Design.TRACKED)
    if named not in {design.value for design in uv.designs}:
        raise EsmFailure(UCode.U_STATE, f"the Hypervisor has a design that is not allowed: {named!s:.32}")
    svm.design = Design(named)


def read_tree(uv: Ultravisor, svm: Svm, fdt: int) -> Operation[tuple[DeviceTree, int]]:
    """Bring the device tree and return it with the room that it has in guest memory (bytes; step 2)."""
    header = yield from brought(uv, svm, Extent(fdt, HEADER), UCode.U_P2, "the device tree")
    try:
        room = totalsize(header)
        whole = yield from brought(uv, svm, Extent(fdt, room), UCode.U_P2, "the device tree")
        return parse(whole), room
    except MalformedDeviceTree as flaw:
        raise EsmFailure(UCode.U_P2, str(flaw)) from None


def secured_image(
    uv: Ultravisor, svm: Svm, asked: Esm, tree: DeviceTree, room: int
) -> Operation[tuple[bytes, Mapping[str, bytes]]]:
    """Share what must be shared, bring the rest of the image, and measure it (steps 3-8).

    Return the device tree as the guest shall find it, and the files attached to its ESM blob.
    """
    try:
        image = GuestImage.of(tree)
        avoid = [
            Extent(asked.fdt, room),
            Extent(asked.kernel_base, PAGE_SIZE),
            image.rtas,
            image.initrd,
            image.esm_blob,
            *(Extent(kept.address, kept.size) for kept in image.reservations),
        ]
        bounce = [reserve(image.memory_end, pages, avoid) for pages in BOUNCE.values()]
        kept = [Reservation(extent.start, extent.size) for extent in bounce]
        edited_tree = pack(with_reservations(tree, kept), room=room, fill=True)
    except MalformedDeviceTree as flaw:
        raise EsmFailure(UCode.U_P2, str(flaw)) from None
    for extent in bounce:
        yield from _share(uv, svm, extent, Kind.IMPLICIT, "a bounce page")
    if image.rtas.size > RTAS_LIMIT:
        raise EsmFailure(UCode.U_P2, "the RTAS area is too large")
    rtas = yield from brought(uv, svm, image.rtas, UCode.U_P2, "the RTAS area")
    yield from _share(uv, svm, image.rtas, Kind.PSEUDO, "the RTAS area")
    yield from bring(uv, svm, covering(svm, image.initrd, UCode.U_P2, "the initrd"))
    blob = yield from read_blob(uv, svm, image.esm_blob)
    yield from measured(uv, svm, asked, image, rtas, blob)
    if svm.design is Design.EAGER:
        yield from bring(uv, svm, left_overs(svm))
    return edited_tree, blob.files


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


def _share(uv: Ultravisor, svm: Svm, extent: Extent, kind: Kind, what: str) -> Operation[None]:
    try:
        yield from share(uv, svm, covering(svm, extent, UCode.U_P2, what), kind)
    except Unsettled as reason:
        raise EsmFailure(UCode.U_STATE, f"{what} can't be shared: {reason}") from None


def read_blob(uv: Ultravisor, svm: Svm, extent: Extent) -> Operation[OpenedBlob]:
    """Bring the ESM blob and open it with this machine's key (steps 6-7)."""
    if extent.size > BLOB_LIMIT:
        raise EsmFailure(UCode.U_PARAMETER, "the ESM blob is too large")
    sealed = yield from brought(uv, svm, extent, UCode.U_PARAMETER, "the ESM blob")
    try:
        return open_blob(sealed, uv.machine_key)
    except NoLockbox as reason:
        raise EsmFailure(UCode.U_NO_KEY, str(reason)) from None
    except (MalformedBlob, TamperedBlob) as reason:
        raise EsmFailure(UCode.U_PERMISSION, str(reason)) from None


def measured(
    uv: Ultravisor, svm: Svm, asked: Esm, image: GuestImage, rtas: bytes, blob: OpenedBlob
) -> Operation[None]:
    """Bring the kernel, and compare what was brought with what the blob promises (step 8)."""
    kernel = Extent(asked.kernel_base, blob.kernel_size)
    kernel_pages = covering(svm, kernel, UCode.U_PARAMETER, "the kernel")
    yield from bring(uv, svm, kernel_pages)
    initrd_pages = covering(svm, image.initrd, UCode.U_P2, "the initrd")
    digest = partial(measure, kernel=b"", bootargs=image.bootargs, rtas=rtas)
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


def done(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """Make H_SVM_INIT_DONE, in which the Hypervisor does with the rest what its design says (step 9).

    A Hypervisor that runs out of device pages says H_STATE; room is made and the call repeated. The room is
    kept for the rest from before the call on, for with its success those pages are ours.
    """
    for _ in range(ROUNDS):
        if not uv.everything_fits:
            if not (yield from make_room(uv, rest_of(svm))):
                raise EsmFailure(UCode.U_RETRY, "secure memory is full")
            if not uv.has_room(rest_of(svm)):
                continue
        svm.done_outstanding = svm.whole = True
        try:
            yield from request("H_SVM_INIT_DONE", SvmInitDone(svm.lpid))
        except Refused as refusal:
            svm.whole = False
            if refusal.code is not HCode.H_STATE:
                raise EsmFailure(UCode.U_STATE, str(refusal)) from None
            continue
        finally:
            svm.done_outstanding = False
        if not svm.alive:
            raise EsmFailure(UCode.U_STATE, "the SVM was terminated")
        return
    raise EsmFailure(UCode.U_RETRY, "the Hypervisor can't take the rest of the VM's pages")


def rest_of(svm: Svm) -> int:
    """Count the pages that no H_SVM_PAGE_IN asked for."""
    return sum(int(np.count_nonzero(not_imported(slot, slice(None)))) for slot in svm.slots)
