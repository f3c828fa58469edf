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
from pef_ultravisor.boot.device_tree_nodes import Flaw, Node

RMO_LIMIT: Final = 768 << 20
"""The Ultravisor reserves memory below this address, or below the end of memory if that is lower."""
MAX_CPUS: Final = 4096
RTAS_LIMIT: Final = 16 << 20
"""Most bytes of the RTAS area."""
MAX_CELLS: Final = 4
"""Most cells of an address or a size, as in libfdt."""
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
        if tree.boot_cpu >= MAX_CPUS:
            raise _wrong("the boot cpu is out of range")
        chosen, rtas = tree.node("/chosen"), tree.node("/rtas")
        if rtas.number("rtas-size") > RTAS_LIMIT:
            raise _wrong("the RTAS area is too large")
        return cls(
            memory_end=min(_first_memory(tree), RMO_LIMIT),
            rtas=Extent(rtas.number("linux,rtas-base"), rtas.number("rtas-size")),
            initrd=_between(chosen.number("linux,initrd-start"), chosen.number("linux,initrd-end")),
            esm_blob=_between(chosen.number("linux,esm-blob-start"), chosen.number("linux,esm-blob-end")),
            bootargs=_bootargs(chosen),
            reservations=tree.reservations,
        )


def _first_memory(tree: DeviceTree) -> int:
    """Return the size in bytes of the memory that begins at 0, which a PAPR guest uses in real mode.

    Any node `/memory` or `/memory@*` may hold its range, at any place of its `reg`.
    """
    addresses, sizes = _cells(tree.root, "#address-cells", 2), _cells(tree.root, "#size-cells", 1)
    nodes = [node for node in tree.root.children if node.name.partition("@")[0] == "memory"]
    if not nodes:
        raise MalformedDeviceTree(Flaw.ABSENT, "memory")
    found = 0
    for node in nodes:
        reg = node.value("reg")
        if not reg or len(reg) % (4 * (addresses + sizes)):
            raise MalformedDeviceTree(Flaw.SIZE, "reg")
        for start in range(0, len(reg), 4 * (addresses + sizes)):
            middle, end = start + 4 * addresses, start + 4 * (addresses + sizes)
            if not any(reg[start:middle]):
                found = max(found, int.from_bytes(reg[middle:end]))
    if not found:
        raise _wrong("no memory begins at 0")
    return found


def _cells(root: Node, name: str, default: int) -> int:
    """Return how many cells an address or a size of the root's children has."""
    cells = root.cell32(name) if name in root.properties else default
    if not 0 < cells <= MAX_CELLS:
        raise _wrong(name)
    return cells


def _bootargs(chosen: Node) -> bytes:
    """Return the text of `bootargs` as the kernel reads it: up to its first NUL.

    Trust: what is measured is what the kernel uses. Without a NUL, Linux cuts the last byte off; so only a
    property of no bytes may lack it. What follows the NUL is not measured, thus zeroes.
    """
    found = chosen.value("bootargs")
    text, nul, rest = found.partition(b"\0")
    if any(rest) or (text and not nul):
        raise MalformedDeviceTree(Flaw.TEXT, "bootargs")
    return text


def _between(start: int, end: int) -> Extent:
    if end < start:
        raise _wrong("a range ends before it starts")
    return Extent(start, end - start)


def _wrong(what: str) -> MalformedDeviceTree:
    return MalformedDeviceTree(Flaw.VALUE, what)


@dataclass(frozen=True, slots=True)
class BootPlan:
    """What the device tree says: where the image lies, and which pages become bounce pages.

    `edited_tree` is the tree as the guest shall find it, with the bounce pages reserved. `added` is what it
    has beyond the bytes of the tree that was given: mostly nothing.
    """

    image: GuestImage
    bounce: tuple[Extent, ...]
    edited_tree: bytes
    added: Extent

    @classmethod
    def of(cls, asked: Esm, tree: bytes) -> "BootPlan":
        """Find the image and places for the bounce pages in a packed device tree.

        Raise MalformedDeviceTree where the tree forbids it, EsmFailure where it leaves no room.
        """
        parsed = parse(tree)
        image = GuestImage.of(parsed)
        given = Extent(asked.fdt, len(tree))
        parts = [
            Extent(asked.kernel_base, PAGE_SIZE),
            image.rtas,
            image.initrd,
            image.esm_blob,
            *(Extent(kept.address, kept.size) for kept in image.reservations),
        ]
        avoid = [given, *parts]
        bounce = tuple(_reserve(image.memory_end, pages, avoid) for pages in BOUNCE.values())
        kept = [Reservation(extent.start, extent.size) for extent in bounce]
        room = _room_of(given, parts)
        edited = pack(with_reservations(parsed, kept), room=room, least=len(tree))
        return cls(image, bounce, edited, Extent(given.end, len(edited) - len(tree)))

    def keep_out_of(self, kernel: Extent) -> None:
        """Raise EsmFailure where what was added lies in the kernel or in another part that is measured."""
        image = self.image
        measured = (kernel, image.rtas, image.initrd, image.esm_blob)
        if self.added.size and any(self.added.overlaps(part) for part in measured):
            raise EsmFailure(UCode.U_P2, "the device tree has no room for the reservations of bounce pages")


def _room_of(tree: Extent, parts: list[Extent]) -> int:
    """Return how many bytes the tree may have: up to the end of its last page, or to the part behind it.

    A part that begins before the tree's end does not count: the tree lies in it, as in its own reservation.
    """
    return min([tree.pages.end, *(part.start for part in parts if part.start >= tree.end)]) - tree.start


def _reserve(memory_end: int, pages: int, avoid: list[Extent]) -> Extent:
    """Find `pages` pages that nothing uses, as high as can be; what is found is avoided from now on."""
    size, end = pages * PAGE_SIZE, memory_end & ~(PAGE_SIZE - 1)
    for used in sorted((used.pages for used in avoid if used.size), key=lambda used: used.end, reverse=True):
        if used.end <= end - size:
            break
        end = min(end, used.start)
    if end < size:
        raise EsmFailure(UCode.U_P2, "the device tree leaves no room for the Ultravisor's bounce pages")
    avoid.append(Extent(end - size, size))
    return avoid[-1]
