"""The columns that the Ultravisor keeps of each GFN, the marks, and sets of GFNs.

| column | per GFN | kept for |
|---|---|---|
| `state` | uint8 | every GFN; 0 is SECURE |
| `marks` | uint8 | every GFN |
| `normal` | uint64 | GFNs backed by a normal page: its real address |
| `counter`, `tag` | uint64, 16 bytes | paged-out GFNs: the record of their sealing |

The last three are memory that the machine gives only where it is written, so a GFN that was never shared nor
paged out costs two bytes.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, Self, TypeAlias

import numpy as np

from pef_kit.core.allocation import column, copy_written
from pef_kit.core.columns import GfnSet, Slot, gfn_set_of
from pef_kit.core.runs import I64, U8, U64, Mask, Selection, isin, run_starts, runs_of_true, words_of
from pef_protocol.http import PAGES_AT_ONCE
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, SlotId
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.gfn.table import IS_BACKED, IS_TRANSIENT

BUSY: Final = 1
"""The bytes of this GFN are being moved, encrypted, measured or zeroed.

Bytes: only the operation that set the mark touches them, perhaps in threads. Set and cleared by `in_flight`
alone, from the checks to the last byte. Invariant: no GFN bears it while no call of the SVM is open.
"""
HCALL_PENDING: Final = 2
"""Our own hypercall for this GFN is outstanding.

Bytes: the UV_PAGE_IN that the hypercall asks for may fill the frame; other vCPUs and UV_PAGE_OUT are told
busy. Set and cleared by `in_flight` alone. Invariant: no GFN bears it while no call of the SVM is open.
"""
REQUESTED: Final = 4
"""UV_ESM asks for this GFN, which was not imported before: UV_PAGE_IN may copy it as it is.

Bytes: UV_PAGE_IN alone. Set and cleared by `in_flight` alone, with HCALL_PENDING. Invariant: without this
mark no UV_PAGE_IN writes to a resident secure page, but while H_SVM_INIT_DONE is outstanding.
"""
IMPORTED: Final = 8
"""The Hypervisor gave this page during UV_ESM.

Bytes: frozen; no UV_PAGE_IN touches them. UV_PAGE_OUT gives them back in clear if UV_ESM fails. Set by
UV_PAGE_IN and UV_ESM; cleared for all GFNs at the commit. Invariant: no page of a secure VM bears it.
"""
REFERENCED: Final = 16
"""The page was used since the clock of `eviction` last passed.

Bytes: says nothing of them. Set by UV_PAGE_IN and by loads and stores; cleared by the clock. No invariant.
"""
FRAME_POPULATED: Final = 32
"""The frame may hold something other than zeroes.

Bytes: who writes to a frame sets it first; `FrameSlot.scrub` zeroes the frame and clears it. Invariant: no
paged-out and no shared GFN bears it, so a frame without the mark is zero.
"""
RESERVED: Final = 64
"""Room in secure memory is kept for this GFN, which the Ultravisor asked for.

Bytes: says nothing of them. Set by `in_flight`; cleared there, or as soon as the page has come. Invariant:
`Ultravisor.reserved` counts each GFN that bears it.
"""

TAG_BYTES: Final = 16
"""Bytes of the tag by which a paged-out page is verified."""

IN_FLIGHT: Final = BUSY | HCALL_PENDING
"""Marks of a GFN that another call has in flight."""


class SlotFrames(Protocol):
    """The frames of one slot: see `memory.frames`."""

    def at(self, first: int, length: int, offset: int = 0) -> U8:
        """Return `length` bytes from byte `offset` of frame `first`, as an array that can be written."""

    def populate(self, first: int, count: int) -> None:
        """Have memory given to frames that are about to be written."""

    def scrub(self, first: int, count: int) -> None:
        """Zero `count` frames from `first` and give their memory back."""


class FrameSlot(Slot):
    """The columns and frames of one memory slot of an SVM; `frames(n)` makes the n frames."""

    def __init__(self, slot_id: SlotId, first: Gfn, count: int, frames: Callable[[int], SlotFrames]) -> None:
        self.frames = frames(count)
        super().__init__(slot_id, first, count)
        self.normal: U64 = column(count, np.uint64)
        self.counter: U64 = column(count, np.uint64)
        self.tag: U8 = column(count, np.uint8, TAG_BYTES)
        self.calls_in_flight = 0
        """Open calls with GFNs of the slot in flight; without one none is in flight or between states."""
        self.absent = 0
        """GFNs that are not SECURE."""
        self.imported = 0
        """GFNs that bear IMPORTED."""
        self.imported_absent = 0
        """Those of them that are not SECURE."""

    def mark(self, chosen: Selection, bit: int) -> None:
        """Set `bit` for the chosen GFNs."""
        if bit & IMPORTED:
            new = ~self.marked(chosen, IMPORTED)
            self.imported += int(np.count_nonzero(new))
            self.imported_absent += int(np.count_nonzero(self.state[chosen][new]))
        super().mark(chosen, bit)

    def unmark(self, chosen: Selection, bit: int) -> None:
        """Clear `bit` for the chosen GFNs."""
        if bit & IMPORTED and self.imported:
            old = self.marked(chosen, IMPORTED)
            self.imported -= int(np.count_nonzero(old))
            self.imported_absent -= int(np.count_nonzero(self.state[chosen][old]))
        super().unmark(chosen, bit)

    def put(self, chosen: Selection, states: U8 | int) -> None:
        """Give the chosen GFNs their next `states` (one for all, or one each), and count."""
        before = self.state[chosen]
        imported = self.marked(chosen, IMPORTED) if self.imported else None
        self.absent -= int(np.count_nonzero(before))
        if imported is not None:
            self.imported_absent -= int(np.count_nonzero(before[imported]))
        self.state[chosen] = states
        after = self.state[chosen]
        self.absent += int(np.count_nonzero(after))
        if imported is not None:
            self.imported_absent += int(np.count_nonzero(after[imported]))

    def scrub(self, offsets: I64) -> None:
        """Zero the frames at `offsets` (pages from the slot's start, ascending) that were filled."""
        filled = offsets[self.marked(offsets, FRAME_POPULATED)]
        if not len(filled):
            return
        for first, count in zip(*run_starts(len(filled), (filled, 1)), strict=True):
            self.frames.scrub(int(filled[first]), int(count))
        self.unmark(offsets, FRAME_POPULATED)

    def blank(self) -> Self:
        """Return a copy whose columns are new and zero; the frames are the same."""
        other = super().blank()
        other.normal = column(self.count, np.uint64)
        other.counter = column(self.count, np.uint64)
        other.tag = column(self.count, np.uint8, TAG_BYTES)
        return other

    def copy_part(self, other: Self, part: slice) -> None:
        """Copy a part of the columns; records of sealing only of what is paged out."""
        super().copy_part(other, part)
        for block in self.blocks_of(part):
            copy_written(self.normal[block], other.normal[block])
            if isin(self.state[block], S.PAGEDOUT).any():
                other.counter[block] = self.counter[block]
                other.tag[block] = self.tag[block]

    def in_flight(self, chosen: Selection) -> Mask:
        """Tell which of the chosen GFNs another call has in flight."""
        states = self.state[chosen]
        busy: Mask = self.marked(chosen, IN_FLIGHT)
        if np.count_nonzero(states):
            busy |= IS_TRANSIENT[states]
        return busy

    def digest_into(self, digest: "hashlib.blake2b") -> None:
        """Feed columns, records and the contents of filled frames to `digest`."""
        super().digest_into(digest)
        for block in self.blocks():
            state = self.state[block]
            if state.any():
                sealed = isin(state, S.PAGEDOUT)
                digest.update(self.normal[block][IS_BACKED[state]].tobytes())
                digest.update(self.counter[block][sealed].tobytes() + self.tag[block][sealed].tobytes())
            for first, count in zip(*runs_of_true(self.marked(block, FRAME_POPULATED)), strict=True):
                digest.update(self.frames.at(block.start + int(first), int(count) * PAGE_SIZE).data)


Gfns: TypeAlias = GfnSet[FrameSlot]
"""GFNs of one slot."""
GfnSets: TypeAlias = list[Gfns]
"""GFNs of several slots, or of several parts of one: a set for each."""


def held_pages(slot: FrameSlot, chosen: Selection) -> Mask:
    """Tell which GFNs of a VM that is becoming secure are in secure memory: imported and not moved out."""
    held: Mask = isin(slot.state[chosen], S.SECURE) & slot.marked(chosen, IMPORTED)
    return held


def page_runs(gfn_sets: GfnSets) -> PageRuns:
    """Return the GFNs of `gfn_sets` as the runs of a hypercall."""
    starts = [gfns.offsets + gfns.slot.first << PAGE_ORDER for gfns in gfn_sets]
    counts = [gfns.counts for gfns in gfn_sets]
    return PageRuns(words_of(np.concatenate(starts), np.concatenate(counts)))


def narrowed(gfns: Gfns, mask: Mask) -> Gfns | None:
    """Return the GFNs of `gfns` that `mask` (one a page) picks, as runs, or None where it picks none."""
    picked = np.count_nonzero(mask)
    if not picked:
        return None
    if picked == len(mask) and len(gfns.offsets) == 1:
        return gfns
    return gfn_set_at(gfns.slot, gfns.each_offset()[mask])


def gfn_set_at(slot: FrameSlot, offsets: I64) -> Gfns:
    """Return the GFNs at `offsets` of a slot (ascending, at least one) as a set."""
    firsts, counts = run_starts(len(offsets), (offsets, 1))
    return GfnSet(slot, np.arange(len(firsts)), offsets[firsts], counts)


def picked(gfn_sets: GfnSets, masks: list[Mask]) -> GfnSets:
    """Return the GFNs of `gfn_sets` that `masks` (one per set; bool, one per GFN) pick."""
    parts = (narrowed(gfns, mask) for gfns, mask in zip(gfn_sets, masks, strict=True))
    return [part for part in parts if part is not None]


def in_state(gfn_sets: GfnSets, *states: S) -> GfnSets:
    """Return the GFNs of `gfn_sets` that are in one of `states`."""
    return picked(gfn_sets, [isin(part.slot.state[part.selection], *states) for part in gfn_sets])


def count_pages(gfn_sets: GfnSets) -> int:
    """Count the GFNs of `gfn_sets`."""
    return sum(part.pages for part in gfn_sets)


def in_parts(gfn_sets: GfnSets) -> Iterator[GfnSets]:
    """Yield the GFNs of `gfn_sets` in parts that the event loop can treat at once; few are one part."""
    if count_pages(gfn_sets) <= PAGES_AT_ONCE:
        yield gfn_sets
        return
    for gfns in gfn_sets:
        start, count = int(gfns.offsets[0]), gfns.pages
        for first in range(0, count, PAGES_AT_ONCE):
            yield [gfn_set_of(gfns.slot, start + first, min(PAGES_AT_ONCE, count - first))]


def normal_pages_of(gfn_sets: Iterable[Gfns]) -> list[U64]:
    """Return the normal pages behind the GFNs of `gfn_sets` (bytes, uint64, one per GFN; 0: none)."""
    return [gfns.slot.normal[gfns.selection] for gfns in gfn_sets]
