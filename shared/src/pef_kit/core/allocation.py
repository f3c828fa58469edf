"""Columns as they are allocated: zeroes that cost nothing until they are written."""

import mmap
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

LARGE: Final = 1 << 16
"""Bytes from which on a column is a mapping of its own."""

C = TypeVar("C", bound=np.generic)


def column(count: int, dtype: type[C], width: int = 1) -> NDArray[C]:
    """Return a column of zeroes for `count` GFNs, in `width` elements each: shape (count,) or (count, width).

    A large one is a private mapping. The allocator of the Ultravisor's process fills each block that it hands
    out, so a block would cost all of its memory at once. Raise MemoryError where there is not enough.
    """
    shape = (count, width) if width > 1 else (count,)
    size = count * width * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.zeros(shape, dtype)
    try:
        mapping = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, ValueError, OverflowError) as failure:
        message = f"a column of {size} bytes: {failure}"
        raise MemoryError(message) from None
    return np.frombuffer(mapping, dtype).reshape(shape)


def copy_written(original: NDArray[C], other: NDArray[C]) -> None:
    """Copy a column, or a part of one, to `other`, which is zero; zeroes cost nothing there either."""
    if original.any():
        other[:] = original
