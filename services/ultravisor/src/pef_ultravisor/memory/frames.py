"""Secure memory: frames that no other process can map.

Each slot has its own private anonymous mapping, one frame of 64 KiB a GFN, in order. No file, no segment and
no endpoint stands behind it. A frame costs nothing until it is written, and nothing again once scrubbed.

Trust: this module hands out views to code of this process only; no view is ever put on the wire but as the
answer to the guest whose frame it is.
"""

import mmap
from contextlib import suppress
from typing import Final

import numpy as np

from pef_kit.core.advice import MADV_DONTDUMP, MADV_DONTFORK, MADV_DONTNEED, MADV_POPULATE_WRITE, advise
from pef_kit.core.runs import U8
from pef_protocol.quantities import PAGE_SIZE

_MAP_NORESERVE: Final = 0x4000
WORTH_ASKING: Final = 16
"""Frames from which on it is faster to ask for memory than to fault it in."""


class NoSecureMemory(Exception):
    """The machine has no room for so many frames."""


class Frames:
    """The frames of one slot: `count` pages; raise NoSecureMemory where they can't be had."""

    def __init__(self, count: int) -> None:
        try:
            self._map = mmap.mmap(
                -1, count * PAGE_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
            )
        except (OSError, ValueError, OverflowError) as failure:
            message = f"{count} frames: {failure}"
            raise NoSecureMemory(message) from None
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._address = self._bytes.ctypes.data
        self._advise(0, count, MADV_DONTDUMP)
        self._advise(0, count, MADV_DONTFORK)

    def at(self, first: int, length: int, offset: int = 0) -> U8:
        """Return `length` bytes from byte `offset` of frame `first`, as an array that can be written."""
        start = first * PAGE_SIZE + offset
        return self._bytes[start : start + length]

    def populate(self, first: int, count: int) -> None:
        """Have memory given to frames that are about to be written, by one request."""
        if count >= WORTH_ASKING:
            with suppress(OSError):  # older kernels do without
                self._advise(first, count, MADV_POPULATE_WRITE)

    def scrub(self, first: int, count: int) -> None:
        """Zero `count` frames from `first` and give their memory back."""
        if count:
            self._advise(first, count, MADV_DONTNEED)

    def _advise(self, first: int, count: int, advice: int) -> None:
        advise(self._address + first * PAGE_SIZE, count * PAGE_SIZE, advice)
