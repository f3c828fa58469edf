"""Requests of the memory bus that are under way, with the ranges of normal memory that they name.

The Ultravisor ends its transfers before it says that pages are this side's again. A request of the memory bus
that it gave up may still be read or written here: so a range is handed to somebody else only once no request
that names it is under way.

Source: rule 13 of ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from pef_kit.spans import I64


class BusRequests:
    """The requests that are under way: rows of (first address, address beyond), in bytes."""

    def __init__(self) -> None:
        self._open: dict[int, I64] = {}
        self._last = 0

    @contextmanager
    def under_way(self, pieces: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Note a request that names `pieces`, (real address, bytes) each, until it has ended."""
        rows = np.array([piece for piece in pieces if piece[1]], np.int64).reshape(-1, 2)
        rows[:, 1] += rows[:, 0]
        self._last = number = self._last + 1
        self._open[number] = rows
        try:
            yield
        finally:
            del self._open[number]

    def touch(self, firsts: I64, ends: I64) -> bool:
        """Tell whether a request names a byte of the ranges [firsts, ends), ascending and apart (bytes)."""
        return any(_overlap(rows, firsts, ends) for rows in self._open.values())


def _overlap(rows: I64, firsts: I64, ends: I64) -> bool:
    if not len(rows) or not len(firsts):
        return False
    at = np.searchsorted(ends, rows[:, 0], side="right")
    inside = at < len(firsts)
    return bool((firsts[at[inside]] < rows[inside, 1]).any())
