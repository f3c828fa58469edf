"""madvise(2) and mincore(2), without the interpreter lock: neither must hold up the event loop."""

import ctypes
import mmap
import os
from typing import Final

import numpy as np

from pef_kit.core.runs import Mask

MADV_DONTNEED: Final = 4
"""MADV_DONTNEED: take the pages out of this process; private ones are gone, and read as zero."""
MADV_REMOVE: Final = 9
"""MADV_REMOVE: take the pages out of the file as well."""
MADV_DONTFORK: Final = 10
"""MADV_DONTFORK."""
MADV_DONTDUMP: Final = 16
"""MADV_DONTDUMP."""
MADV_POPULATE_WRITE: Final = 23
"""MADV_POPULATE_WRITE: have the pages given now, not by a fault each."""

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def advise(address: int, length: int, advice: int) -> None:
    """Give the kernel `advice` on `length` bytes at `address`; raise OSError where it won't have it."""
    if _libc.madvise(address, length, advice):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def resident(address: int, length: int) -> Mask:
    """Tell which kernel pages of a mapping are resident (bool, one each); raise OSError where unknown."""
    found = np.zeros(-(-length // mmap.PAGESIZE), np.uint8)
    if _libc.mincore(address, length, found.ctypes.data):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    held: Mask = (found & 1).astype(np.bool_)
    return held
