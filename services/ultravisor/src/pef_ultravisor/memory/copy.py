"""Moving pages between frames and normal memory: which pieces a transfer has, and what is done to each page.

Every function here makes a `Transfer` whose work touches only frames of GFNs that the caller has marked
MOVING. Pages that stand side by side on both sides travel as one piece; the cipher works page by page.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from pef_kit.operations import Transfer
from pef_kit.spans import I64, U8, U64, Mask, breaks
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_ultravisor.gfn.columns import FrameSlot
from pef_ultravisor.memory.sealing import TAG_BYTES, Sealer

PIECES: Final = 2048
"""Pieces of one transfer: they are a list, which is made on the event loop."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages of one slot (`offsets` from its start) and the normal page that belongs to each (`addresses`)."""

    slot: FrameSlot
    offsets: I64
    addresses: I64

    def __len__(self) -> int:
        return len(self.offsets)

    def transfer(self, each: Callable[[int, int, U8], None], *, writes: bool) -> Transfer:
        """Return a transfer that calls `each(first, count, normal)` for stretches of these pages.

        `first` is a place in `offsets`; `normal` are the bytes of `count` normal pages.
        """
        firsts, counts = breaks(len(self), (self.offsets, 1), (self.addresses, PAGE_SIZE))
        sizes = counts << PAGE_ORDER
        pieces = list(zip(self.addresses[firsts].tolist(), sizes.tolist(), strict=True))

        def of_view(index: int, offset: int, view: memoryview) -> None:
            first = int(firsts[index]) + (offset >> PAGE_ORDER)
            each(first, len(view) >> PAGE_ORDER, np.frombuffer(view, np.uint8))

        return Transfer(pieces, of_view, writes)

    def batches(self) -> "Iterator[Pages]":
        """Yield these pages in parts of at most `PIECES` pieces, each for a transfer of its own."""
        firsts, _ = breaks(len(self), (self.offsets, 1), (self.addresses, PAGE_SIZE))
        edges = [*firsts[::PIECES].tolist(), len(self)]
        for start, end in pairwise(edges):
            yield Pages(self.slot, self.offsets[start:end], self.addresses[start:end])

    def frame(self, first: int, count: int) -> U8:
        """Return the frames of `count` pages from place `first`, which stand side by side."""
        return self.slot.frames.at(int(self.offsets[first]), count << PAGE_ORDER)

    def fresh_frame(self, first: int, count: int) -> U8:
        """Return the same frames, to be written whole."""
        self.slot.frames.make_ready(int(self.offsets[first]), count)
        return self.frame(first, count)


def importing(pages: Pages) -> Transfer:
    """Copy normal pages into frames as they are."""

    def each(first: int, count: int, normal: U8) -> None:
        np.copyto(pages.fresh_frame(first, count), normal)

    return pages.transfer(each, writes=False)


def giving_back(pages: Pages) -> Transfer:
    """Copy frames into normal pages, in clear: for a VM that never ran secure."""

    def each(first: int, count: int, normal: U8) -> None:
        np.copyto(normal, pages.frame(first, count))

    return pages.transfer(each, writes=True)


def zeroing(pages: Pages) -> Transfer:
    """Zero normal pages."""

    def each(_: int, __: int, normal: U8) -> None:
        normal.fill(0)

    return replace(pages.transfer(each, writes=True), zeroes=True)


def sealing(pages: Pages, sealer: Sealer) -> tuple[Transfer, U64, U8]:
    """Encrypt frames into normal pages; return the transfer, the counters and the tags to be."""
    counters = np.uint64(sealer.take_ivs(len(pages))) + np.arange(len(pages), dtype=np.uint64)
    tags = np.zeros((len(pages), TAG_BYTES), np.uint8)
    gfns = pages.offsets + pages.slot.first

    def each(first: int, count: int, normal: U8) -> None:
        some = slice(first, first + count)
        sealer.seal(gfns[some], counters[some], pages.frame(first, count), normal, tags[some])

    return pages.transfer(each, writes=True), counters, tags


def opening(pages: Pages, sealer: Sealer) -> tuple[Transfer, Mask]:
    """Decrypt normal pages into frames; return the transfer, and which pages turn out genuine."""
    genuine = np.zeros(len(pages), np.bool_)
    gfns = pages.offsets + pages.slot.first
    counters = pages.slot.counter[pages.offsets]
    tags = pages.slot.tag[pages.offsets]

    def each(first: int, count: int, normal: U8) -> None:
        some = slice(first, first + count)
        frames = pages.fresh_frame(first, count)
        genuine[some] = sealer.open(gfns[some], counters[some], tags[some], normal, frames)

    return pages.transfer(each, writes=False), genuine
