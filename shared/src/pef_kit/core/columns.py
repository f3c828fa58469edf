"""Columnar stores: one set of numpy columns a memory slot, found by guest address, taken by runs.

| what | shape |
|---|---|
| `Slot.state`, `Slot.marks` | uint8, one element a GFN of the slot |
| `SlotMap` | the slots of one VM, by descending first GFN |
| `GfnSet` | GFNs of one slot, as runs in the order of a message |

A column that was never written costs nothing: it is memory the machine has not been asked for yet.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Final, Generic, Self, TypeVar

import numpy as np
import numpy.ma  # np.unique would do so in the middle of the first call, and take 40 ms

from pef_kit.core.allocation import column, copy_written
from pef_kit.core.runs import (
    I64,
    NOT_FOUND,
    U8,
    U64,
    Mask,
    Selection,
    page_aligned,
    repeats,
    run_starts,
    runs_of_true,
    select,
    spread,
)
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, SlotId

BLOCK: Final = 1 << 16
"""GFNs that are treated at once where a whole slot is."""


class Slot:
    """The columns of one memory slot of `count` GFNs from `first`."""

    def __init__(self, slot_id: SlotId, first: Gfn, count: int) -> None:
        self.slot_id = slot_id
        self.first = first
        self.count = count
        self.state: U8 = column(count, np.uint8)
        self.marks: U8 = column(count, np.uint8)

    @property
    def end(self) -> int:
        """Return the first GFN beyond the slot."""
        return self.first + self.count

    def blocks(self) -> Iterator[slice]:
        """Return the slot in slices of at most BLOCK GFNs: a block of a column stays in the cache."""
        return self.blocks_of(slice(0, self.count))

    def blocks_of(self, part: slice) -> Iterator[slice]:
        """Yield a part of the slot in slices of at most BLOCK GFNs."""
        for start in range(part.start, part.stop, BLOCK):
            yield slice(start, min(start + BLOCK, part.stop))

    def marked_blocks(self, part: slice | None = None) -> Iterator[slice]:
        """Yield those blocks, of all or of a part of the slot, in which a GFN bears any mark."""
        for block in self.blocks() if part is None else self.blocks_of(part):
            if self.marks[block].any():
                yield block

    def mark(self, chosen: Selection, bit: int) -> None:
        """Set `bit` for the chosen GFNs."""
        self.marks[chosen] |= np.uint8(bit)

    def unmark(self, chosen: Selection, bit: int) -> None:
        """Clear `bit` for the chosen GFNs."""
        self.marks[chosen] &= np.uint8(0xFF ^ bit)

    def marked(self, chosen: Selection, bit: int) -> Mask:
        """Tell which of the chosen GFNs bear `bit`."""
        bearing: Mask = (self.marks[chosen] & np.uint8(bit)) != 0
        return bearing

    def blank(self) -> Self:
        """Return a copy whose columns are new and zero, which `copy_part` fills."""
        other = copy(self)
        other.state = column(self.count, np.uint8)
        other.marks = column(self.count, np.uint8)
        return other

    def copy_part(self, other: Self, part: slice) -> None:
        """Copy a part of the columns to those of `other`; what is zero there costs nothing."""
        for block in self.blocks_of(part):
            copy_written(self.state[block], other.state[block])
            copy_written(self.marks[block], other.marks[block])

    def runs(self) -> tuple[I64, I64]:
        """Return (offset, pages) of each run of GFNs that have the same state."""
        edges = [
            np.flatnonzero(self.state[block][1:] != self.state[block][:-1]) + block.start + 1
            for block in (slice(at.start, min(at.stop + 1, self.count)) for at in self.blocks())
        ]
        firsts = np.concatenate([np.zeros(1, np.int64), *edges])
        return firsts, np.diff(np.append(firsts, self.count))

    def digest_into(self, digest: "hashlib.blake2b") -> None:
        """Feed all columns to `digest`."""
        digest.update(np.array([self.slot_id, self.first, self.count], np.int64).tobytes())
        digest.update(self.state.data)
        digest.update(self.marks.data)

    @property
    def column_bytes(self) -> int:
        """Return how many bytes the columns take that every GFN has."""
        return self.state.nbytes + self.marks.nbytes


SlotT = TypeVar("SlotT", bound=Slot)


@dataclass(frozen=True, slots=True)
class GfnSet(Generic[SlotT]):
    """A set of GFNs of one slot, as runs in the order of a message.

    `rows` are the places of the runs in the message; `offsets` (pages from the slot's start) and `counts`
    (pages) have an element per run. Codes, states and masks about the set have an element per GFN, in order.
    """

    slot: SlotT
    rows: I64
    offsets: I64
    counts: I64

    @property
    def selection(self) -> Selection:
        """Return what selects the elements of all GFNs in a column of the slot, in order."""
        return select(self.offsets, self.counts)

    @property
    def pages(self) -> int:
        """Return the number of GFNs."""
        return int(self.counts[0] if len(self.counts) == 1 else self.counts.sum())

    def each_offset(self) -> I64:
        """Return the offset of every GFN from the slot's start (int64, one per GFN)."""
        return spread(self.offsets, self.counts, 1)

    def each_gfn(self) -> I64:
        """Return every GFN (int64, one per GFN)."""
        return spread(self.offsets + self.slot.first, self.counts, 1)

    def each_row(self) -> I64:
        """Return the place in the message of the run that each GFN belongs to (int64, one per GFN)."""
        rows: I64 = np.repeat(self.rows, self.counts)
        return rows

    def each_address(self, starts: U64) -> I64:
        """Return the address of every GFN, from one address per *run of the message* (bytes, int64)."""
        return spread(starts[self.rows].astype(np.int64), self.counts, PAGE_SIZE)

    def where(self, mask: Mask) -> "GfnSet[SlotT]":
        """Return the GFNs for which `mask` (bool, one per GFN) is true; they keep their rows."""
        offsets, rows = self.each_offset()[mask], self.each_row()[mask]
        if len(offsets) == len(mask):
            return self
        firsts, counts = run_starts(len(offsets), (offsets, 1), (rows, 0))
        return GfnSet(self.slot, rows[firsts], offsets[firsts], counts)


class SlotMap(Generic[SlotT]):
    """The memory slots of one VM, by descending first GFN."""

    def __init__(self) -> None:
        self._slots: list[SlotT] = []
        self._reindex()

    def __iter__(self) -> Iterator[SlotT]:
        return iter(tuple(self._slots))

    def __len__(self) -> int:
        return len(self._slots)

    def _reindex(self) -> None:
        self._slots.sort(key=lambda slot: slot.first, reverse=True)
        self._starts = [slot.first for slot in reversed(self._slots)]
        self._firsts = np.array(self._starts, np.int64)
        self._ends = np.array([slot.end for slot in reversed(self._slots)], np.int64)

    def add(self, slot: SlotT) -> None:
        """Take a slot in; the caller has made sure that it overlaps none."""
        self._slots.append(slot)
        self._reindex()

    def remove(self, slot: SlotT) -> None:
        """Take a slot out."""
        self._slots.remove(slot)
        self._reindex()

    def get(self, slot_id: int) -> SlotT | None:
        """Return the slot of that id, or None."""
        return next((slot for slot in self._slots if slot.slot_id == slot_id), None)

    def overlapping(self, first: int, count: int) -> SlotT | None:
        """Return a slot that shares a GFN with the range, or None."""
        return next((slot for slot in self._slots if first < slot.end and slot.first < first + count), None)

    def holding(self, gfn: int) -> SlotT | None:
        """Return the slot that holds `gfn`, or None."""
        return self.overlapping(gfn, 1)

    def locate(self, gpas: U64, counts: U64) -> I64:
        """Return, for each run, the index of the one slot that holds it whole, or NOT_FOUND.

        NOT_FOUND too for a run that is not on a page boundary, that wraps, or that overlaps another run of
        the same message. A run of no page is held by the slot that holds its address.
        """
        if len(gpas) == 1:
            return np.array([self._locate_one(int(gpas[0]), int(counts[0]))], np.int64)
        found = np.full(len(gpas), NOT_FOUND, np.int64)
        if not self._slots or not len(gpas):
            return found
        gfns = (gpas >> np.uint64(PAGE_ORDER)).astype(np.int64)
        at = np.searchsorted(self._firsts, gfns, side="right") - 1
        room = self._ends[at] - gfns
        inside = (at >= 0) & (room > 0) & page_aligned(gpas)
        inside &= counts <= np.maximum(room, 0).astype(np.uint64)
        found[inside] = at[inside]
        kept = np.flatnonzero(inside)
        starts = gfns[kept].astype(np.uint64)
        found[kept[repeats(starts, counts[kept])]] = NOT_FOUND
        return found

    def _locate_one(self, gpa: int, count: int) -> int:
        gfn = gpa >> PAGE_ORDER
        at = bisect_right(self._starts, gfn) - 1
        if at < 0 or gpa % PAGE_SIZE:
            return NOT_FOUND
        room = self._slots[len(self._slots) - 1 - at].end - gfn
        return at if room > 0 and count <= room else NOT_FOUND

    def gfn_sets(self, gpas: U64, counts: U64, rows: I64, places: I64) -> list[GfnSet[SlotT]]:
        """Return the runs in `rows` of a message, one set per slot; `places` is what `locate` returned."""
        sorted_out: list[GfnSet[SlotT]] = []
        for place in np.unique(places[rows]) if len(rows) > 1 else places[rows]:
            mine = rows[places[rows] == place] if len(rows) > 1 else rows
            slot = self._slots[len(self._slots) - 1 - int(place)]
            gfns = (gpas[mine] >> np.uint64(PAGE_ORDER)).astype(np.int64)
            sorted_out.append(GfnSet(slot, mine, gfns - slot.first, counts[mine].astype(np.int64)))
        return sorted_out

    def covered(self, gfn: int, count: int) -> list[GfnSet[SlotT]] | None:
        """Return a range as sets of GFNs, for slots may abut; None where a GFN has no slot."""
        found: list[GfnSet[SlotT]] = []
        while count > 0:
            slot = self.holding(gfn)
            if slot is None:
                return None
            taken = min(count, slot.end - gfn)
            found.append(gfn_set_of(slot, gfn - slot.first, taken))
            gfn, count = gfn + taken, count - taken
        return found

    @property
    def gfns(self) -> int:
        """Return how many GFNs all slots have together."""
        return sum(slot.count for slot in self._slots)


def gfn_set_of(slot: SlotT, offset: int, count: int) -> GfnSet[SlotT]:
    """Return one run of `count` GFNs from `offset` of `slot` as a set."""
    return GfnSet(slot, np.zeros(1, np.int64), np.array([offset], np.int64), np.array([count], np.int64))


def gfn_set_where(slot: SlotT, mask: Mask) -> GfnSet[SlotT] | None:
    """Return the GFNs of `slot` that `mask` (bool, one a GFN) marks as a set, or None."""
    firsts, counts = runs_of_true(mask)
    return GfnSet(slot, np.arange(len(firsts)), firsts, counts) if len(firsts) else None
