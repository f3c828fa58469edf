"""What a VM's device tree says of the guest image, read as untrusted bytes, and what is planned by it.

Every address and size here is the guest's claim. Whether it lies in the VM's memory is found out when the
pages are asked for; whether it overlaps something it must not is checked where memory is reserved.

Source: specification of the Ultravisor, section 3, steps 2-6; the properties are those of PAPR and Linux.
"""

from dataclasses import dataclass
from typing import Final

from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.ultracalls import Esm
from pef_ultravisor.boot.device_tree import (
    DeviceTree,
    MalformedDeviceTree,
    Reservation,
    pack,
    parse,
    with_reservations,
)
from pef_ultravisor.boot.device_tree_nodes import Flaw

RMO_LIMIT: Final = 768 << 20
"""The Ultravisor reserves memory below this address, or below the end of memory if that is lower."""
MAX_CPUS: Final = 4096
BOUNCE: Final = {"RTAS": 6, "TPM": 1}
"""Pages by which the SVM is heard by RTAS (arguments, 4 buffers, stop-self) and by the TPM."""


class EsmFailure(Exception):
    """UV_ESM can't succeed: the code that the guest will read, and why."""

    def __init__(self, code: UCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Extent:
    """`size` bytes from guest physical address `start`."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """Return the first address beyond."""
        return self.start + self.size

    @property
    def pages(self) -> "Extent":
        """Return the whole pages that the extent touches."""
        first = self.start & ~(PAGE_SIZE - 1)
        return Extent(first, -(-self.end // PAGE_SIZE) * PAGE_SIZE - first)

    def overlaps(self, other: "Extent") -> bool:
        """Tell whether a byte is in both."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class GuestImage:
    """Where the parts of a guest image lie, by its device tree; the kernel's size is in the ESM blob."""

    memory_end: int
    rtas: Extent
    initrd: Extent
    esm_blob: Extent
    bootargs: bytes
    reservations: tuple[Reservation, ...]

    @classmethod
    def of(cls, tree: DeviceTree) -> "GuestImage":
        """Read a device tree; raise MalformedDeviceTree where it lacks something that is needed."""
        memory = tree.node("/memory@0").value("reg", 16)
        base, size = int.from_bytes(memory[:8], "big"), int.from_bytes(memory[8:], "big")
        if base:
            raise _wrong("/memory@0 does not begin at 0")
        if tree.boot_cpu >= MAX_CPUS:
            raise _wrong("the boot cpu is out of range")
        chosen, rtas = tree.node("/chosen"), tree.node("/rtas")
        return cls(
            memory_end=min(size, RMO_LIMIT),
            rtas=Extent(rtas.cell32("linux,rtas-base"), rtas.cell32("rtas-size")),
            initrd=_between(chosen.cell64("linux,initrd-start"), chosen.cell64("linux,initrd-end")),
            esm_blob=_between(chosen.cell64("linux,esm-blob-start"), chosen.cell64("linux,esm-blob-end")),
            bootargs=chosen.text("bootargs").encode(),
            reservations=tree.reservations,
        )


def _between(start: int, end: int) -> Extent:
    if end < start:
        raise _wrong("a range ends before it starts")
    return Extent(start, end - start)


def _wrong(what: str) -> MalformedDeviceTree:
    return MalformedDeviceTree(Flaw.VALUE, what)


@dataclass(frozen=True, slots=True)
class BootPlan:
    """What the device tree says: where the image lies, and which pages become bounce pages.

    `edited_tree` is the tree as the guest shall find it, with the bounce pages reserved.
    """

    image: GuestImage
    bounce: tuple[Extent, ...]
    edited_tree: bytes

    @classmethod
    def of(cls, asked: Esm, tree: bytes) -> "BootPlan":
        """Find the image and places for the bounce pages in a packed device tree.

        Raise MalformedDeviceTree where the tree forbids it, EsmFailure where it leaves no room.
        """
        parsed = parse(tree)
        image = GuestImage.of(parsed)
        avoid = [
            Extent(asked.fdt, len(tree)),
            Extent(asked.kernel_base, PAGE_SIZE),
            image.rtas,
            image.initrd,
            image.esm_blob,
            *(Extent(kept.address, kept.size) for kept in image.reservations),
        ]
        bounce = tuple(_reserve(image.memory_end, pages, avoid) for pages in BOUNCE.values())
        kept = [Reservation(extent.start, extent.size) for extent in bounce]
        return cls(image, bounce, pack(with_reservations(parsed, kept), room=len(tree), fill=True))


def _reserve(memory_end: int, pages: int, avoid: list[Extent]) -> Extent:
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
