"""Runs of pages as arrays: decode, look for repeats, find stretches, expand. No loop over pages."""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.runs import Runs

U8: TypeAlias = NDArray[np.uint8]
U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Selection: TypeAlias = "slice | I64"
"""Which elements of a column: a slice where they are one run, else their indexes."""

NOT_FOUND: Final = -1


def columns_of(runs: Runs) -> tuple[U64, ...]:
    """Return the columns of `runs`, each an array of uint64 with an element a run."""
    rows = np.frombuffer(runs.words, dtype="<u8").astype(np.uint64, copy=False)
    return tuple(rows.reshape(-1, runs.WIDTH).T)


def pages_in(runs: Runs) -> int:
    """Return how many pages `runs` have together; a count may be any 64-bit number."""
    counts = columns_of(runs)[runs.COLUMNS.index("count")]
    high, low = counts >> np.uint64(32), counts & np.uint64(0xFFFFFFFF)
    return (int(high.sum()) << 32) + int(low.sum())


def words_of(*columns: NDArray[np.int64] | U64 | NDArray[np.int16]) -> bytes:
    """Return columns of one length as the words of `Runs`; negative numbers in two's complement."""
    table = np.empty((len(columns[0]), len(columns)), dtype="<u8")
    for place, column in enumerate(columns):
        table[:, place] = column.astype(np.int64).view(np.uint64) if column.dtype.kind == "i" else column
    return table.tobytes()


def repeats(starts: U64, counts: U64) -> Mask:
    """Mark every run that overlaps another one of the message. `starts` and `counts` in pages."""
    if len(starts) == 1:
        return np.zeros(1, np.bool_)
    some = np.flatnonzero(counts)  # a run of no page overlaps nothing
    order = some[np.argsort(starts[some], kind="stable")]
    ends = np.maximum.accumulate(starts[order] + counts[order])
    alone = np.ones(len(order), np.bool_)
    alone[1:] = starts[order][1:] >= ends[:-1]
    cluster = np.cumsum(alone) - 1
    marked = np.zeros(len(starts), np.bool_)
    marked[order] = np.bincount(cluster)[cluster] > 1
    return marked


def select(offsets: I64, counts: I64) -> Selection:
    """Return the elements that runs at `offsets` of `counts` elements cover, in order."""
    if len(offsets) == 1:
        return slice(int(offsets[0]), int(offsets[0] + counts[0]))
    return spread(offsets, counts, 1)


def spread(starts: I64, counts: I64, step: int) -> I64:
    """Expand runs into one number a page: `starts[i]`, `starts[i] + step`, ... `counts[i]` times."""
    if len(starts) == 1:
        one_run: I64 = np.arange(0, int(counts[0]) * step, step, dtype=np.int64)
        one_run += starts[0]  # Trust: a peer's address may wrap
        return one_run
    total = int(counts.sum())
    before = np.repeat(np.cumsum(counts) - counts, counts)
    within: I64 = np.arange(total, dtype=np.int64) - before
    many_runs: I64 = np.repeat(starts, counts) + within * step
    return many_runs


def runs_of_true(mask: Mask | U8) -> tuple[I64, I64]:
    """Return (first, count) of each stretch of true elements of `mask`."""
    padded = np.zeros(len(mask) + 2, np.bool_)
    padded[1:-1] = mask
    edges = (padded[1:] != padded[:-1]).nonzero()[0]
    return edges[::2], edges[1::2] - edges[::2]


def run_starts(length: int, *columns: tuple[NDArray[np.generic], int]) -> tuple[I64, I64]:
    """Cut `length` elements where any (column, step) does not go on by exactly its step.

    Return (first, count) of the pieces. A step of 0 keeps equal values together, `PAGE_SIZE` keeps pages
    that stand side by side in memory together.
    """
    if length <= 1:
        return np.zeros(length, np.int64), np.ones(length, np.int64)
    cut = np.zeros(length, np.bool_)
    cut[0] = True
    for column, step in columns:
        cut[1:] |= column[1:] != column[:-1] + column.dtype.type(step)  # type: ignore[operator]
    firsts = cut.nonzero()[0]
    return firsts, np.diff(np.append(firsts, length))


def isin(column: NDArray[np.uint8] | NDArray[np.int16], *wanted: int) -> Mask:
    """Mark the elements of `column` that are one of `wanted`: a comparison each, faster than a lookup.

    The values are compared as plain numbers: a member of an enum costs numpy five times as much.
    """
    found: Mask = column == int(wanted[0])
    for value in wanted[1:]:
        found |= column == int(value)
    return found


def page_aligned(numbers: U64) -> Mask:
    """Mark the numbers (bytes) that stand on a page boundary."""
    aligned: Mask = (numbers & np.uint64(PAGE_SIZE - 1)) == 0
    return aligned
