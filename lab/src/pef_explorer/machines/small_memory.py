"""Memory for small systems: pages of full size of which only the first few bytes are ever anything but zero.

A page holds one token of `TOKEN_BYTES` at its start. So a page is known by its first `KNOWN_BYTES`, is put
back by writing them, and is scrubbed by zeroing them. The cipher is the services' own, AES-256-GCM with the
services' own binding, over those bytes: the rest of an encrypted page stays zero.
"""

import mmap
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag

from pef_kit.core.runs import I64, U8, U64, Mask
from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory
from pef_protocol.quantities import PAGE_SIZE, Lpid
from pef_ultravisor.memory.frames import Frames
from pef_ultravisor.memory.sealing import Sealer

TOKEN_BYTES: Final = 8
KNOWN_BYTES: Final = 16


class HeapMemory(NormalMemory):
    """Normal memory of `pages` pages that nobody else can map."""

    def __init__(self, pages: int) -> None:
        self.size = pages * PAGE_SIZE
        self._map = mmap.mmap(-1, self.size)
        self.view = memoryview(self._map)
        self.pages = np.frombuffer(self._map, np.uint8).reshape(pages, PAGE_SIZE)
        self.known = self.pages[:, :KNOWN_BYTES]
        """The bytes by which each page is known, as a view (pages x KNOWN_BYTES)."""

    def release(self, ra: int, length: int) -> None:
        """Do nothing: there is no file to which the bytes could be left."""

    def discard(self, ra: int, length: int) -> None:
        """Scrub the pages at `ra`."""
        first = (ra - NORMAL_BASE) // PAGE_SIZE
        self.known[first : first + length // PAGE_SIZE] = 0


class HeapFrames(Frames):
    """Frames of a slot of a few pages."""

    def __init__(self, count: int) -> None:
        self.pages = np.zeros((count, PAGE_SIZE), np.uint8)
        self.known = self.pages[:, :KNOWN_BYTES]
        self._bytes = self.pages.reshape(-1)

    def populate(self, first: int, count: int) -> None:
        """Do nothing: the memory is there."""

    def scrub(self, first: int, count: int) -> None:
        """Zero `count` frames from `first`."""
        self.known[first : first + count] = 0


class KnownBytesSealer(Sealer):
    """The services' sealer over the bytes by which a page is known.

    `used_ivs`: the IVs with which pages were sealed since somebody emptied it, as they went to the cipher.
    """

    def __init__(self, lpid: Lpid, key: bytes, fixed: bytes) -> None:
        super().__init__(lpid, key, fixed)
        self.used_ivs: list[bytes] = []

    def seal(self, gfns: I64, counters: U64, frames: U8, normal: U8, tags: U8) -> None:
        """Encrypt pages of `frames` into `normal` and note their tags."""
        pages, out = frames.reshape(-1, PAGE_SIZE), normal.reshape(-1, PAGE_SIZE)
        for place, (gfn, counter) in enumerate(zip(gfns.tolist(), counters.tolist(), strict=True)):
            iv, bound = self._bound(gfn, counter)
            self.used_ivs.append(iv)
            sealed = self._cipher.encrypt(iv, pages[place, :KNOWN_BYTES].tobytes(), bound)
            out[place, :KNOWN_BYTES] = np.frombuffer(sealed[:KNOWN_BYTES], np.uint8)
            tags[place] = np.frombuffer(sealed[KNOWN_BYTES:], np.uint8)

    def open(self, gfns: I64, counters: U64, tags: U8, normal: U8, frames: U8) -> Mask:
        """Decrypt pages of `normal` into `frames`; return which are genuine. The others are zeroed."""
        genuine = np.ones(len(gfns), np.bool_)
        pages, came = frames.reshape(-1, PAGE_SIZE), normal.reshape(-1, PAGE_SIZE)
        for place, (gfn, counter) in enumerate(zip(gfns.tolist(), counters.tolist(), strict=True)):
            known = self.opened(gfn, counter, came[place, :KNOWN_BYTES].tobytes(), tags[place].tobytes())
            genuine[place] = known is not None
            pages[place, :KNOWN_BYTES] = np.frombuffer(known or bytes(KNOWN_BYTES), np.uint8)
        return genuine

    def opened(self, gfn: int, counter: int, sealed: bytes, tag: bytes) -> bytes | None:
        """Return the bytes that `sealed` holds, or None where it is not genuine."""
        iv, bound = self._bound(gfn, counter)
        try:
            return self._cipher.decrypt(iv, sealed + tag, bound)
        except InvalidTag:
            return None
