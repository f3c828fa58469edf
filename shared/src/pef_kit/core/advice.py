"""madvise(2) without the interpreter lock: giving memory, or taking it, must not hold up the event loop."""

import ctypes
import os
from typing import Final

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


def advise(address: int, length: int, advice: int) -> None:
    """Give the kernel `advice` on `length` bytes at `address`; raise OSError where it won't have it."""
    if _libc.madvise(address, length, advice):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
