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

from pef_kit.spans import U8
from pef_protocol.quantities import PAGE_SIZE, U64_MAX, Lpid

KEY_BYTES: Final = 32
FIXED_BYTES: Final = 4
TAG_BYTES: Final = 16

_scratch = threading.local()


class IvExhausted(Exception):
    """Every IV of a key has been used."""


def _buffer() -> U8:
    """Return this thread's buffer of a page and a tag; it never holds plaintext."""
    if not hasattr(_scratch, "buffer"):
        _scratch.buffer = np.zeros(PAGE_SIZE + TAG_BYTES, np.uint8)
    buffer: U8 = _scratch.buffer
    return buffer


class Sealer:
    """Seals and opens the pages of one SVM, under one key."""

    def __init__(self, lpid: Lpid, key: bytes, fixed: bytes) -> None:
        self._lpid = lpid
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

    def seal(self, gfn: int, counter: int, frame: U8, normal: U8) -> U8:
        """Encrypt `frame` (one page) into `normal` (one page) and return the tag (16 bytes)."""
        iv, bound = self._bound(gfn, counter)
        sealed = _buffer()
        self._cipher.encrypt_into(iv, frame.data, bound, sealed.data)
        np.copyto(normal, sealed[:PAGE_SIZE])
        return sealed[PAGE_SIZE:].copy()

    def open(self, gfn: int, counter: int, tag: U8, normal: U8, frame: U8) -> bool:
        """Decrypt `normal` (one page) into `frame`; return False, with no plaintext, if it is not genuine.

        Trust: somebody else may write `normal` meanwhile, so it is read once.
        """
        iv, bound = self._bound(gfn, counter)
        sealed = _buffer()
        np.copyto(sealed[:PAGE_SIZE], normal)
        sealed[PAGE_SIZE:] = tag
        try:
            self._cipher.decrypt_into(iv, sealed.data, bound, frame.data)
        except InvalidTag:
            frame.fill(0)
            return False
        return True
