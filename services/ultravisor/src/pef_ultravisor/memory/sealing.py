"""Page sealing: what makes a page of an SVM safe to lie in the Hypervisor's memory.

AES-256-GCM with a random key per SVM. The 96-bit IV is 32 random bits and a 64-bit counter that never goes
back; the additional data binds lpid, GFN and IV. Counter and tag stay in the Ultravisor, so the ciphertext is
exactly one page, and an older one, another GFN's or another SVM's does not open.

Source: decisions, "page cipher".
"""

import threading
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pef_kit.core.runs import I64, U8, U64, Mask
from pef_protocol.quantities import PAGE_SIZE, U64_MAX, Lpid
from pef_ultravisor.gfn.columns import TAG_BYTES

KEY_BYTES: Final = 32
FIXED_BYTES: Final = 4
BATCH: Final = 4
"""Pages that are copied at once: the copy stays in the processor's cache until it is used."""

_scratch = threading.local()


class IvExhausted(Exception):
    """Every IV of a key has been used."""


def _buffer() -> U8:
    """Return this thread's buffer: BATCH rows of a page and a tag; it never holds plaintext."""
    if not hasattr(_scratch, "buffer"):
        _scratch.buffer = np.zeros((BATCH, PAGE_SIZE + TAG_BYTES), np.uint8)
    buffer: U8 = _scratch.buffer
    return buffer


class Sealer:
    """Seals and opens the pages of one SVM, under one key."""

    def __init__(self, lpid: Lpid, key: bytes, fixed: bytes) -> None:
        self._lpid = lpid
        self._key = key
        self._cipher = AESGCM(key)
        self._fixed = fixed
        self._last = 0

    def take_ivs(self, count: int) -> int:
        """Use up `count` IVs and return the counter of the first; raise IvExhausted at the end."""
        if self._last + count > U64_MAX:
            raise IvExhausted
        first = self._last + 1
        self._last += count
        return first

    @property
    def used(self) -> int:
        """Return how many IVs have been used."""
        return self._last

    def _bound(self, gfn: int, counter: int) -> tuple[bytes, bytes]:
        iv = self._fixed + counter.to_bytes(8, "big")
        return iv, self._lpid.to_bytes(8, "big") + gfn.to_bytes(8, "big") + iv

    def seal(self, gfns: I64, counters: U64, frames: U8, normal: U8, tags: U8) -> None:
        """Encrypt pages of `frames` into `normal` and note their tags.

        `frames` and `normal` are pages one after another; `gfns`, `counters` and `tags` (16 bytes each) have
        an element a page.
        """
        sealed = _buffer()
        pages, out = frames.reshape(-1, PAGE_SIZE), normal.reshape(-1, PAGE_SIZE)
        for first in range(0, len(gfns), BATCH):
            some = slice(first, first + BATCH)
            for row, page, gfn, counter in zip(sealed, pages[some], gfns[some], counters[some], strict=False):
                iv, bound = self._bound(int(gfn), int(counter))
                self._cipher.encrypt_into(iv, page.data, bound, row.data)
            count = len(gfns[some])
            np.copyto(out[some], sealed[:count, :PAGE_SIZE])
            tags[some] = sealed[:count, PAGE_SIZE:]

    def open(self, gfns: I64, counters: U64, tags: U8, normal: U8, frames: U8) -> Mask:
        """Decrypt pages of `normal` into `frames`; return which are genuine. The others are zeroed.

        Shapes as for `seal`. Trust: somebody else may write `normal` meanwhile, so it is read once.
        """
        sealed = _buffer()
        genuine = np.ones(len(gfns), np.bool_)
        pages, came = frames.reshape(-1, PAGE_SIZE), normal.reshape(-1, PAGE_SIZE)
        for first in range(0, len(gfns), BATCH):
            some = slice(first, first + BATCH)
            count = len(gfns[some])
            np.copyto(sealed[:count, :PAGE_SIZE], came[some])
            sealed[:count, PAGE_SIZE:] = tags[some]
            for place in range(count):
                at = first + place
                iv, bound = self._bound(int(gfns[at]), int(counters[at]))
                try:
                    self._cipher.decrypt_into(iv, sealed[place].data, bound, pages[at].data)
                except InvalidTag:
                    genuine[at] = False
                    pages[at].fill(0)
        return genuine
