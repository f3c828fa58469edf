"""Copies between frames and normal memory: as it is, encrypted, decrypted, or zeroes.

Every copy touches only frames of GFNs that its caller has marked BUSY. Pages that lie side by side on
both sides travel as one piece; the cipher works page by page.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np

from pef_kit.core.effects import Operation, Transfer
from pef_kit.core.runs import I64, U8, U64, Mask, run_starts
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_ultravisor.gfn.columns import TAG_BYTES, FrameSlot, Gfns
from pef_ultravisor.memory.sealing import Sealer

PIECES: Final = 2048
"""Pieces of one transfer: they are a list, which is made on the event loop."""


Each = Callable[[U8, U8, slice], None]
"""Called with bytes of normal pages, those of their frames, and which of the pages of a batch they are."""


def copy_in(gfns: Gfns, addresses: I64) -> Operation[None]:
    """Copy normal pages into frames as they are; `addresses`: real address per GFN (bytes, int64)."""
    for offsets, normal_pages in _batches(gfns, addresses):
        yield _transfer(gfns.slot, offsets, normal_pages, _to_frames, writes=False, scrubs_zeroes=True)


def copy_out(gfns: Gfns, addresses: I64) -> Operation[None]:
    """Copy frames into normal pages, in clear: for a VM that never ran secure. Shapes as for `copy_in`."""
    for offsets, normal_pages in _batches(gfns, addresses):
        yield _transfer(gfns.slot, offsets, normal_pages, _to_normal, writes=True)


def zero_normal(gfns: Gfns, addresses: I64) -> Operation[None]:
    """Zero normal pages. Shapes as for `copy_in`."""
    for offsets, normal_pages in _batches(gfns, addresses):
        yield replace(_transfer(gfns.slot, offsets, normal_pages, _zero, writes=True), zeroes=True)


def encrypt_out(gfns: Gfns, addresses: I64, sealer: Sealer) -> Operation[tuple[U64, U8]]:
    """Encrypt frames into normal pages; return IV counters (uint64) and tags (16 bytes), one per GFN.

    Shapes as for `copy_in`.
    """
    records: list[tuple[U64, U8]] = []
    for offsets, normal_pages in _batches(gfns, addresses):
        counters = np.uint64(sealer.take_ivs(len(offsets))) + np.arange(len(offsets), dtype=np.uint64)
        tags = np.zeros((len(offsets), TAG_BYTES), np.uint8)
        encrypt = partial(_encrypt, sealer, offsets + gfns.slot.first, counters, tags)
        yield _transfer(gfns.slot, offsets, normal_pages, encrypt, writes=True)
        records.append((counters, tags))
    return np.concatenate([each for each, _ in records]), np.concatenate([each for _, each in records])


def decrypt_in(gfns: Gfns, addresses: I64, sealer: Sealer) -> Operation[Mask]:
    """Decrypt normal pages into frames; return which are genuine (bool, one per GFN). The others are zeroed.

    Shapes as for `copy_in`.
    """
    found: list[Mask] = []
    for offsets, normal_pages in _batches(gfns, addresses):
        genuine = np.zeros(len(offsets), np.bool_)
        counters, tags = gfns.slot.counter[offsets], gfns.slot.tag[offsets]
        decrypt = partial(_decrypt, sealer, offsets + gfns.slot.first, counters, tags, genuine)
        yield replace(_transfer(gfns.slot, offsets, normal_pages, decrypt, writes=False), dense=True)
        found.append(genuine)
    return np.concatenate(found)


def _to_frames(normal: U8, frames: U8, _: slice) -> None:
    np.copyto(frames, normal)


def _to_normal(normal: U8, frames: U8, _: slice) -> None:
    np.copyto(normal, frames)


def _zero(normal: U8, _: U8, __: slice) -> None:
    normal.fill(0)


def _encrypt(sealer: Sealer, gfns: I64, counters: U64, tags: U8, normal: U8, frames: U8, some: slice) -> None:
    sealer.seal(gfns[some], counters[some], frames, normal, tags[some])


def _decrypt(
    sealer: Sealer, gfns: I64, counters: U64, tags: U8, genuine: Mask, normal: U8, frames: U8, some: slice
) -> None:
    genuine[some] = sealer.open(gfns[some], counters[some], tags[some], normal, frames)


def _batches(gfns: Gfns, addresses: I64) -> Iterator[tuple[I64, I64]]:
    """Yield offsets and addresses in parts of at most `PIECES` pieces, each for one transfer."""
    offsets = gfns.each_offset()
    firsts, _ = run_starts(len(offsets), (offsets, 1), (addresses, PAGE_SIZE))
    edges = [*firsts[::PIECES].tolist(), len(offsets)]
    for start, end in pairwise(edges):
        yield offsets[start:end], addresses[start:end]


def _transfer(
    slot: FrameSlot, offsets: I64, addresses: I64, each: Each, *, writes: bool, scrubs_zeroes: bool = False
) -> Transfer:
    """Return a transfer that calls `each` for pages that lie side by side, in frames and normal memory.

    `offsets` (pages from the slot's start) and `addresses` (bytes) have an element per page. Where it
    `scrubs_zeroes`, normal pages that nobody wrote scrub their frames, and `each` is not called.
    """
    firsts, counts = run_starts(len(offsets), (offsets, 1), (addresses, PAGE_SIZE))
    sizes = counts << PAGE_ORDER
    pieces = list(zip(addresses[firsts].tolist(), sizes.tolist(), strict=True))

    def of_view(index: int, offset: int, view: memoryview) -> None:
        first, count = int(firsts[index]) + (offset >> PAGE_ORDER), len(view) >> PAGE_ORDER
        if view.readonly and scrubs_zeroes:
            slot.frames.scrub(int(offsets[first]), count)
            return
        if not writes:
            slot.frames.populate(int(offsets[first]), count)
        frames = slot.frames.at(int(offsets[first]), count << PAGE_ORDER)
        each(np.frombuffer(view, np.uint8), frames, slice(first, first + count))

    return Transfer(pieces, of_view, writes)
