"""Which pages of normal memory back a GFN of some SVM, and which are in flight: two bytes a page, in all.

A page is pinned from the check that lets bytes go to it, or come from it, to the landing of the last byte.

Invariant: a real address backs at most one (SVM, GFN) at a time; a pinned one is given to nobody else.
"""

from typing import Final

import numpy as np

from pef_kit.core.allocation import column, copy_written
from pef_kit.core.effects import Operation, Turn
from pef_kit.core.runs import I64, U8, U64, Mask, isin, page_aligned, repeats, spread
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_ultravisor.gfn.columns import FRAME_POPULATED, FrameSlot, GfnSets
from pef_ultravisor.gfn.table import GFN, Action, Event

STEP: Final = 1 << 20
"""Pages that are copied before others have a turn."""
_BASE: Final = np.uint64(NORMAL_BASE)
_ORDER: Final = np.uint64(PAGE_ORDER)


class NormalPages:
    """Normal memory of `size` bytes from `NORMAL_BASE`, as the Ultravisor knows it: pages in use or not."""

    def __init__(self, size: int) -> None:
        self._pages = size >> PAGE_ORDER
        self._backing: U8 = column(self._pages, np.uint8)
        self._pins: U8 = column(self._pages, np.uint8)

    def __len__(self) -> int:
        return self._pages

    def _place(self, addresses: U64) -> I64:
        places: I64 = ((addresses - _BASE) >> _ORDER).view(np.int64)
        return places

    def whole(self, addresses: U64, counts: U64) -> Mask:
        """Tell which runs (address, pages) are whole pages of normal memory, none of them named twice."""
        if len(addresses) == 1:
            return np.array([self._is_whole(int(addresses[0]), int(counts[0]))])
        pages = np.uint64(self._pages)
        inside = (addresses >= np.uint64(NORMAL_BASE)) & page_aligned(addresses) & (counts <= pages)
        starts = (addresses - np.uint64(NORMAL_BASE)) >> np.uint64(PAGE_ORDER)
        inside &= starts < pages
        inside[inside] &= starts[inside] + counts[inside] <= pages
        chosen = np.flatnonzero(inside)
        inside[chosen[repeats(starts[chosen], counts[chosen])]] = False
        return inside

    def _is_whole(self, address: int, count: int) -> bool:
        first, beyond = divmod(address - NORMAL_BASE, PAGE_SIZE)
        return not beyond and 0 <= first < self._pages and first + count <= self._pages

    def in_use(self, addresses: U64, counts: U64) -> Mask:
        """Tell which runs of whole normal pages hold one that backs a GFN, or is in flight."""
        if len(addresses) == 1:
            first = int(self._place(addresses)[0])
            run = slice(first, first + int(counts[0]))
            return np.array([bool(self._backing[run].any() or self._pins[run].any())])
        sizes = counts.astype(np.int64)
        places = spread(self._place(addresses), sizes, 1)
        used = (self._backing[places] | self._pins[places]) != 0
        hits = np.zeros(len(sizes), np.bool_)
        if np.count_nonzero(used):
            hits[np.repeat(np.arange(len(sizes)), sizes)[used]] = True
        return hits

    def each_in_use(self, addresses: U64) -> Mask:
        """Tell which whole normal pages (one address each) back a GFN, or are in flight."""
        places = self._place(addresses)
        used: Mask = (self._backing[places] | self._pins[places]) != 0
        return used

    def take(self, addresses: U64) -> None:
        """Mark pages (one address each) as backing a GFN."""
        self._backing[self._place(addresses)] = 1

    def release(self, addresses: U64) -> None:
        """Mark pages (one address each, 0 meaning none) as backing nothing."""
        self._backing[self._place(addresses[addresses != 0])] = 0

    def pin(self, addresses: U64) -> None:
        """Note that bytes will go to these pages or come from them (one address each, 0: none)."""
        self._pins[self._place(addresses[addresses != 0])] += 1

    def unpin(self, addresses: U64) -> None:
        """Note that all bytes have landed for which these pages were pinned once."""
        self._pins[self._place(addresses[addresses != 0])] -= 1

    def copied(self) -> Operation["NormalPages"]:
        """Return a copy; others may act between two parts of it."""
        other = NormalPages(self._pages << PAGE_ORDER)
        for start in range(0, self._pages, STEP):
            if start:
                yield Turn()
            part = slice(start, start + STEP)
            copy_written(self._backing[part], other._backing[part])
            copy_written(self._pins[part], other._pins[part])
        return other

    @property
    def used(self) -> int:
        """Count the pages that back a GFN."""
        return int(np.count_nonzero(self._backing))

    @property
    def pinned(self) -> int:
        """Count the pages that are in flight."""
        return int(np.count_nonzero(self._pins))


def table_in_normal_memory(double_word: int) -> bool:
    """Tell whether the table address in a partition-table double word lies outside secure memory."""
    return not double_word & ~(PAGE_SIZE - 1) & (1 << 48)


def advance(normal_pages: NormalPages, gfn_sets: GfnSets, event: Event) -> None:
    """Apply `event` to every GFN of `gfn_sets`, with those actions that need no effect: UNMAP and SCRUB."""
    for gfns in gfn_sets:
        slot, chosen = gfns.slot, gfns.selection
        judgement = GFN.judge(event, slot.state[chosen])
        lost = isin(judgement.action, Action.UNMAP)
        if np.count_nonzero(lost):
            unmap(normal_pages, slot, gfns.each_offset()[lost])
        filled = isin(judgement.action, Action.SCRUB) & slot.marked(chosen, FRAME_POPULATED)
        if np.count_nonzero(filled):
            slot.scrub(gfns.each_offset()[filled])
        slot.put(chosen, judgement.next_state)


def unmap(normal_pages: NormalPages, slot: FrameSlot, offsets: I64) -> None:
    """Have no normal page back the GFNs at `offsets` (pages from the slot's start)."""
    normal_pages.release(slot.normal[offsets])
    slot.normal[offsets] = 0
