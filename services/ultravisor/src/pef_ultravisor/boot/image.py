"""What a VM's device tree says of the guest image, read as untrusted bytes.

Every address and size here is the guest's claim. Whether it lies in the VM's memory is found out when the
pages are asked for; whether it overlaps something it must not is checked where memory is reserved.

Source: specification of the Ultravisor, section 3, steps 2-6; the properties are those of PAPR and Linux.
"""

from dataclasses import dataclass
from typing import Final

from pef_protocol.quantities import PAGE_SIZE
from pef_ultravisor.boot.device_tree import DeviceTree, MalformedDeviceTree, Reservation
from pef_ultravisor.boot.device_tree_nodes import Flaw

RMO_LIMIT: Final = 768 << 20
"""The Ultravisor reserves memory below this address, or below the end of memory if that is lower."""
MAX_CPUS: Final = 4096


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
