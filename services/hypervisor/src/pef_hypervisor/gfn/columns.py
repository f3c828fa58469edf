"""This side's columns, two bytes per GFN, and what calls have in flight.

| column | holds |
|---|---|
| `state` | the state word: N, S, P or H (one paragraph for each in `pef_hypervisor.gfn.table`) |
| `marks` | BUSY, HOST_POPULATED, STAND_IN, SENT |

Sets of GFNs are lists of `GfnSet`, one per slot. Codes, states and masks about such a list are arrays with an
element per GFN, in the order of the list.

What must always be true of the columns is told by the functions of `pef_hypervisor.invariants`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pef_kit.core.columns import GfnSet, Slot
from pef_kit.core.runs import I64, U8, Mask, Selection, run_starts
from pef_protocol.quantities import PAGE_SIZE, Gfn, RealAddress, SlotId
from pef_protocol.states import HvGfnState

BUSY: Final = 1
"""A call has the GFN in flight.

Bytes: only that call, and the ultracall that it has made, touch the normal page. Every other call waits, or
is told busy. Set and cleared by `in_flight` alone, which takes it off when its block ends. A slot that is in
flight as a whole reads as if each GFN had the mark. Invariant: `nothing_moves_alone`.
"""
HOST_POPULATED: Final = 2
"""The normal page has bytes; a page without the mark reads as zero and costs nothing.

Bytes: it says that they are there, and nothing of who may touch them. Set with each write to the page, by
guest, host, or an ultracall that fills or shares it. Cleared by `scrub_pages` alone, once the page is a hole.
Invariants: `visible_pages_are_there`, `secure_pages_left`.
"""
STAND_IN: Final = 4
"""The normal page came in place of one that was in secure memory: ciphertext, or a fresh shared page.

Bytes: host and Ultravisor touch it as its state says; no normal VM may ever read it. Set when a page was
paged out, or shared while it was secure. Cleared when the page is scrubbed, or comes back in clear. Reset and
H_SVM_INIT_ABORT scrub what bears it. Invariants: `visible_pages_are_there`, `normal_vms_are_plain`.
"""
SENT: Final = 8
"""The GFN's bytes went to the Ultravisor by UV_PAGE_IN, so H_SVM_INIT_ABORT has to get them back.

Bytes: those are in secure memory, and the normal page was scrubbed. Set when UV_PAGE_IN is accepted; cleared
for the whole VM when it is a normal one again. Invariant: `normal_vms_are_plain`.
"""

Codes: TypeAlias = NDArray[np.int16]
"""Return codes, one per GFN."""


class VmSlot(Slot):
    """The columns of one memory slot, and the place in real memory at which its normal pages stand."""

    def __init__(self, slot_id: SlotId, first: Gfn, count: int, base: RealAddress) -> None:
        super().__init__(slot_id, first, count)
        self.base = base
        self.registered = False
        """The Ultravisor knows the slot."""
        self.calls_in_flight = 0
        """Calls that have GFNs of the slot in flight."""
        self.whole_in_flight = False
        """One of them has every GFN in flight, whatever the marks say."""

    def marked(self, chosen: Selection, bit: int) -> Mask:
        """Tell which of the chosen GFNs bear `bit`."""
        bearing = super().marked(chosen, bit)
        if self.whole_in_flight and bit & BUSY:
            bearing[:] = True
        return bearing

    def real_addresses(self, offsets: I64) -> I64:
        """Return the real addresses (bytes) of the normal pages at `offsets` (pages)."""
        return offsets * PAGE_SIZE + self.base

    def counted(self, state: HvGfnState) -> int:
        """Count the GFNs in `state`."""
        return sum(int(np.count_nonzero(self.state[block] == state)) for block in self.blocks())

    def where(self, bit: int, part: slice | None = None) -> Iterator[I64]:
        """Yield the offsets (pages) of the GFNs, of all or of a part, that bear `bit`, block by block."""
        for block in self.marked_blocks(part):
            if len(offsets := np.flatnonzero(self.marked(block, bit)) + block.start):
                yield offsets

    @property
    def moving(self) -> bool:
        """Tell whether the columns have a GFN of the slot in flight; calls count in `calls_in_flight`."""
        return self.whole_in_flight or any(
            bool(self.marked(block, BUSY).any()) for block in self.marked_blocks()
        )


GfnSets: TypeAlias = list[GfnSet[VmSlot]]
"""GFNs of one VM, one set per slot (or several of one slot, which have no GFN in common)."""
Batch: TypeAlias = Sequence[tuple[VmSlot, slice]]
"""Parts of slots that are treated at once."""


def gfn_set_at(slot: VmSlot, offsets: I64) -> GfnSet[VmSlot]:
    """Return the GFNs at `offsets` (pages, in any order) of a slot as a set; each run goes upwards."""
    firsts, counts = run_starts(len(offsets), (offsets, 1))
    return GfnSet(slot, np.arange(len(firsts)), offsets[firsts], counts)


def only(gfn_sets: GfnSets, mask: Mask) -> GfnSets:
    """Return the GFNs for which `mask` (one per GFN of all sets) is true; a set without any is left out."""
    if mask.all():
        return [gfns for gfns in gfn_sets if len(gfns.counts)]
    if not mask.any():
        return []
    chosen = [gfns.where(mask[piece]) for gfns, piece in pieces(gfn_sets)]
    return [gfns for gfns in chosen if len(gfns.counts)]


def pieces(gfn_sets: GfnSets) -> Iterator[tuple[GfnSet[VmSlot], slice]]:
    """Yield each set with its piece of an array that has an element per GFN of all sets."""
    start = 0
    for gfns in gfn_sets:
        yield gfns, slice(start, start + gfns.pages)
        start += gfns.pages


def states_of(gfn_sets: GfnSets) -> U8:
    """Return a copy of the states (uint8, one per GFN)."""
    found = [gfns.slot.state[gfns.selection] for gfns in gfn_sets]
    return found[0].copy() if len(found) == 1 else np.concatenate(found or [np.zeros(0, np.uint8)])


def marked(gfn_sets: GfnSets, bit: int) -> Mask:
    """Tell which GFNs bear `bit` (bool, one per GFN)."""
    bearing = [gfns.slot.marked(gfns.selection, bit) for gfns in gfn_sets]
    return bearing[0] if len(bearing) == 1 else np.concatenate(bearing or [np.zeros(0, np.bool_)])


def set_states(gfn_sets: GfnSets, states: U8) -> None:
    """Give each GFN its element of `states` (uint8, one per GFN)."""
    for gfns, piece in pieces(gfn_sets):
        gfns.slot.state[gfns.selection] = states[piece]


def mark(gfn_sets: GfnSets, bit: int) -> None:
    """Set `bit` for each GFN."""
    for gfns in gfn_sets:
        gfns.slot.mark(gfns.selection, bit)


def unmark(gfn_sets: GfnSets, bit: int) -> None:
    """Clear `bit` for each GFN."""
    for gfns in gfn_sets:
        gfns.slot.unmark(gfns.selection, bit)


def is_in(states: U8, wanted: tuple[HvGfnState, ...]) -> Mask:
    """Mark the elements of `states` that are one of `wanted`: a comparison each, faster than a lookup."""
    found: Mask = np.zeros(len(states), np.bool_)
    for state in wanted:
        found |= states == np.uint8(state)
    return found


@dataclass(slots=True)
class DevicePool:
    """The device pages that stand for secure pages: `held` by GFNs, `reserved` for GFNs in flight."""

    size: int
    held: int = 0
    reserved: int = 0
    leaving: int = 0
    """Of those that are held: on their way back, once UV_PAGE_OUT is answered."""

    @property
    def free(self) -> int:
        """Return how many device pages nobody has."""
        return self.size - self.held - self.reserved

    @property
    def used(self) -> int:
        """Return how many device pages are held or reserved."""
        return self.held + self.reserved

    def take(self, pages: int) -> None:
        """Give `pages` to GFNs; the caller has made sure that they are free."""
        self.held += pages

    def release(self, pages: int) -> None:
        """Take back what GFNs held."""
        self.held -= pages

    @contextmanager
    def freeing(self, pages: int) -> Iterator[None]:
        """Expect `pages` back while their GFNs are on their way out."""
        self.leaving += pages
        try:
            yield
        finally:
            self.leaving -= pages

    @contextmanager
    def reserving(self, pages: int) -> Iterator["Reservation"]:
        """Keep `pages` for GFNs in flight, until they have landed."""
        reservation = Reservation(self, pages)
        self.reserved += pages
        try:
            yield reservation
        finally:
            self.reserved -= reservation.pages


@dataclass(slots=True)
class Reservation:
    """Device pages that are reserved and not yet held."""

    pool: DevicePool
    pages: int

    def keep(self, pages: int) -> None:
        """Turn `pages` of them into held ones."""
        self.pages -= pages
        self.pool.reserved -= pages
        self.pool.held += pages


@contextmanager
def in_flight(
    pool: DevicePool, gfn_sets: GfnSets, *, taking: int = 0, leaving: int = 0
) -> Iterator[Reservation]:
    """Mark GFNs BUSY, and reserve device pages for those that come in; one way in, and one way out.

    `taking`: device pages that are reserved; `leaving`: device pages that may come back. The mark of a GFN
    stands for its normal page, too: a page that bytes go to or come from is named by its GFN alone.

    Order: the caller has seen that no GFN bears the mark, and that there are device pages. Enter before
    anything can raise; leave before waiting: nobody waits for others while it holds.

    Source: rule 13 of ARCHITECTURE.md, "Identity and time".
    """
    with pool.reserving(taking) as reserved, pool.freeing(leaving):
        for gfns in gfn_sets:
            gfns.slot.mark(gfns.selection, BUSY)
            gfns.slot.calls_in_flight += 1
        try:
            yield reserved
        finally:
            for gfns in gfn_sets:
                gfns.slot.unmark(gfns.selection, BUSY)
                gfns.slot.calls_in_flight -= 1


@contextmanager
def whole_in_flight(slot: VmSlot) -> Iterator[None]:
    """Have every GFN of a slot in flight, however many there are. The caller has seen that none is."""
    slot.calls_in_flight += 1
    slot.whole_in_flight = True
    try:
        yield
    finally:
        slot.whole_in_flight = False
        slot.calls_in_flight -= 1
