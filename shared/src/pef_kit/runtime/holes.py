"""Holes of a sparse file: reading one must not make it cost memory, as reading it through a mapping does.

Source: mincore(2), lseek(2). What is not resident may be swapped out, so both are asked.
"""

import errno
import os
from collections.abc import Iterator

import numpy as np

from pef_kit.core.advice import resident
from pef_kit.core.runs import Mask, run_starts
from pef_protocol.quantities import PAGE_SIZE


def parts(file: int, address: int, start: int, length: int) -> Iterator[tuple[int, int, bool]]:
    """Cut `length` bytes from byte `start` of a file at page boundaries, by whether they lie in holes.

    Yield offset, bytes, and whether all lie in holes. `file` is mapped at `address`. Where the kernel does
    not say what is resident, all is said to be written.
    """
    end = start + length
    first, beyond = start // PAGE_SIZE, -(-end // PAGE_SIZE)
    if beyond - first == 1:
        yield 0, length, _is_hole(file, start, end)
        return
    try:
        held = resident(address + first * PAGE_SIZE, (beyond - first) * PAGE_SIZE)
    except OSError:
        yield 0, length, False
        return
    pages: Mask = np.logical_or.reduce(held.reshape(beyond - first, -1), axis=1)
    for place, count in zip(*run_starts(len(pages), (pages.view(np.uint8), 0)), strict=True):
        low = max(start, (first + int(place)) * PAGE_SIZE)
        high = min(end, (first + int(place) + int(count)) * PAGE_SIZE)
        yield low - start, high - low, not pages[place] and _is_hole(file, low, high)


def _is_hole(file: int, start: int, end: int) -> bool:
    """Tell whether a file holds nothing from byte `start` to `end`."""
    try:
        return os.lseek(file, start, os.SEEK_DATA) >= end
    except OSError as failure:
        if failure.errno != errno.ENXIO:
            raise
        return True
