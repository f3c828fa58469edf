"""Memory of small systems, private to this process, in which canaries can be looked for.

A process that is forked has it as it is, and changes only its own.
"""

import mmap
import re
from collections.abc import Iterator
from typing import Final

import numpy as np

from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory
from pef_protocol.quantities import PAGE_SIZE
from pef_ultravisor.memory.frames import Frames

MAGIC: Final = b"canary of tenant "
"""How each canary begins; a letter and a GFN follow: a capital, but while the tenant's VM is normal."""
CANARY: Final = re.compile(MAGIC + rb"([A-Za-z]) ([0-9]{4})")


def canary(tenant: str, gfn: int) -> bytes:
    """Return the bytes (32) by which a page of a tenant is known."""
    return (MAGIC + f"{tenant} {gfn:04}".encode()).ljust(32, b".")


def private_memory(size: int) -> mmap.mmap:
    """Return `size` bytes that cost what is touched."""
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class PrivateMemory(NormalMemory):
    """Normal memory that knows which of its pages were ever touched."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._map = private_memory(size)
        self.view = memoryview(self._map)
        self._touched: set[int] = set()

    def at(self, ra: int, length: int) -> memoryview:
        """Return the bytes at `ra` as a view; from now on they count as touched."""
        view = super().at(ra, length)
        first = (ra - NORMAL_BASE) // PAGE_SIZE
        self._touched.update(range(first, first + -(-(ra % PAGE_SIZE + length) // PAGE_SIZE)))
        return view

    def release(self, ra: int, length: int) -> None:
        """Do nothing: there is no file to which the bytes could be left."""

    def discard(self, ra: int, length: int) -> None:
        """Scrub the pages at `ra`."""
        first = (ra - NORMAL_BASE) // PAGE_SIZE
        for page in self._touched.intersection(range(first, first + length // PAGE_SIZE)):
            self._map.madvise(mmap.MADV_DONTNEED, page * PAGE_SIZE, PAGE_SIZE)
            self._touched.discard(page)

    def canaries(self) -> Iterator[tuple[str, int]]:
        """Yield the tenant and GFN of each canary that is anywhere in it."""
        for page in sorted(self._touched):
            for match in CANARY.finditer(self.view, page * PAGE_SIZE, (page + 1) * PAGE_SIZE):
                yield match[1].decode(), int(match[2])


class PrivateFrames(Frames):
    """The frames of a slot, which a test may look at."""

    def __init__(self, count: int) -> None:
        self._map = private_memory(count * PAGE_SIZE)
        self._bytes = np.frombuffer(self._map, np.uint8)

    def populate(self, first: int, count: int) -> None:
        """Do nothing: what is touched is there."""

    def scrub(self, first: int, count: int) -> None:
        """Zero `count` frames from `first` and give their memory back."""
        if count:
            self._map.madvise(mmap.MADV_DONTNEED, first * PAGE_SIZE, count * PAGE_SIZE)

    def canaries(self) -> Iterator[tuple[str, int]]:
        """Yield the tenant and GFN of each canary that begins a frame."""
        starts = self._bytes.reshape(-1, PAGE_SIZE)[:, : len(canary("A", 0))]
        magic = np.frombuffer(MAGIC, np.uint8)
        for frame in np.flatnonzero((starts[:, : len(MAGIC)] == magic).all(axis=1)):
            for match in CANARY.finditer(starts[frame].tobytes()):
                yield match[1].decode(), int(match[2])
