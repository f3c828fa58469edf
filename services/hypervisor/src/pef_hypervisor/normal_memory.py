"""Normal memory by slot: a contiguous range of real addresses each, first fit, scrubbed before it is reused.

Trust: the Ultravisor writes to pages that it was offered or told to fill; nothing here decides on bytes.
A page that nobody touched is never read through the mapping: that alone would make it cost memory.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from pef_hypervisor.gfn.columns import HOST_POPULATED, DevicePool, GfnSets, VmSlot, in_flight, mark
from pef_kit.core.columns import GfnSet
from pef_kit.core.effects import Backoff, Offload, Operation
from pef_kit.core.runs import I64, run_starts, runs_of_true
from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory
from pef_protocol.quantities import PAGE_SIZE, Gpa, RealAddress, gpa_of

AT_ONCE: Final = 64
"""Pages that are scrubbed without a thread."""
LARGE: Final = 1 << 20
"""Bytes of an access after which this process lets go of the pages: they are the guest's, not its own."""
SMALL: Final = 1 << 20
"""Bytes that are copied without a thread."""
PIECE: Final = 4 << 20
"""Bytes that are scrubbed in one step: other threads have a turn between two."""


class BusRequests:
    """The requests of the memory bus that are under way: rows of (first address, address beyond), in bytes.

    The Ultravisor ends its transfers before it says that pages are this side's again. A request that it gave
    up may still be read or written here: so a range is handed to somebody else only once no request that
    names it is under way.

    Source: rule 13 of ARCHITECTURE.md, "Identity and time".
    """

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


class Misplaced(ValueError):
    """A range of real memory that is not what its holder says."""


class RealMemory:
    """Hands out ranges of real addresses, a slot each."""

    def __init__(self, bytes_: NormalMemory) -> None:
        self.bytes = bytes_
        self.requests = BusRequests()
        self._claims: dict[int, int] = {}

    @property
    def claims(self) -> dict[int, int]:
        """Return the ranges that are taken, by first address: bytes."""
        return dict(self._claims)

    def copied(self) -> "RealMemory":
        """Return the same memory with claims of its own."""
        other = RealMemory(self.bytes)
        other._claims = dict(self._claims)
        return other

    def claim(self, pages: int) -> RealAddress | None:
        """Return the first address of the first gap of `pages` pages, now taken, or None."""
        length = pages * PAGE_SIZE
        start = NORMAL_BASE
        for base in sorted(self._claims):
            if base - start >= length:
                break
            start = base + self._claims[base]
        if not length or not self.bytes.holds(start, length):
            return None
        self._claims[start] = length
        return RealAddress(start)

    def release(self, base: RealAddress, pages: int) -> None:
        """Take back a range that its holder has scrubbed; raise Misplaced where it is none."""
        if self._claims.get(base) != pages * PAGE_SIZE:
            message = f"{pages} pages at {base:#x} were never handed out"
            raise Misplaced(message)
        del self._claims[base]

    def scrub(self, gfns: GfnSet[VmSlot]) -> Operation[bool]:
        """Make the normal pages of GFNs read as zero and give them back; in a thread where many.

        Return whether they are: not where a request of the memory bus names one until time is over.
        Order: the GFNs are BUSY, or nobody else can reach them.
        """
        places, lengths = gfns.slot.real_addresses(gfns.offsets), gfns.counts * PAGE_SIZE
        if not (yield from self._at_rest(places, lengths)):
            return False
        if gfns.pages <= AT_ONCE:
            self._discard(places, lengths)
        else:
            yield Offload(lambda: self._discard(places, lengths))
        return True

    def _at_rest(self, places: I64, lengths: I64) -> Operation[bool]:
        """Wait until no bus request names a byte of the ranges (bytes); return whether none does."""
        order = np.argsort(places)
        firsts, ends = places[order], (places + lengths)[order]
        for attempt in itertools.count():
            if not self.requests.touch(firsts, ends):
                return True
            again: bool = yield Backoff(attempt, ignore_deadline=True)
            if not again:
                break
        return False

    def vacate(self, slot: VmSlot) -> Operation[bool]:
        """Scrub the whole range of a slot, in a thread where it is large, and take it back.

        Return whether it was: see `scrub`. Order: the caller has marked all of it BUSY, or nobody else can
        reach it.
        """
        length = slot.count * PAGE_SIZE
        if not (yield from self._at_rest(np.array([slot.base]), np.array([length]))):
            return False

        def discard() -> None:
            for offsets in slot.where(HOST_POPULATED):
                firsts, counts = run_starts(len(offsets), (offsets, 1))
                self._discard(slot.real_addresses(offsets[firsts]), counts * PAGE_SIZE)
            self.bytes.discard(slot.base, length)  # what bears no mark is a hole, and costs nothing

        if slot.count <= AT_ONCE:
            discard()
        else:
            yield Offload(discard)
        self.release(slot.base, slot.count)
        return True

    def _discard(self, places: I64, lengths: I64) -> None:
        for ra, length in zip(places.tolist(), lengths.tolist(), strict=True):
            for at in range(0, length, PIECE):
                self.bytes.discard(ra + at, min(PIECE, length - at))

    def read(self, gfn_sets: GfnSets, gpa: Gpa, length: int) -> bytearray:
        """Return `length` bytes from guest address `gpa`, which the gfn_sets cover.

        Untouched pages read as zero, and stay untouched; so do shared ones that nobody wrote.
        """
        seen = bytearray(length)
        for slot, first, count in self._touched(gfn_sets):
            start = max(gpa, gpa_of(slot.first + first))
            end = min(gpa + length, gpa_of(slot.first + first + count))
            place = slot.base + start - gpa_of(slot.first)
            for at, size, hole in self.bytes.parts(place, end - start):
                if not hole:
                    seen[start - gpa + at : start - gpa + at + size] = self.bytes.at(place + at, size)
            if end - start >= LARGE:
                self.bytes.release(place, end - start)
        return seen

    def write(self, gfn_sets: GfnSets, gpa: Gpa, content: bytes) -> None:
        """Write `content` from guest address `gpa`, which the gfn_sets cover.

        Order: the caller has marked them HOST_POPULATED.
        """
        for gfns in gfn_sets:
            slot = gfns.slot
            start = max(gpa, gpa_of(slot.first + int(gfns.offsets[0])))
            end = min(gpa + len(content), gpa_of(slot.first + int(gfns.offsets[0]) + gfns.pages))
            place = slot.base + start - gpa_of(slot.first)
            self.bytes.at(place, end - start)[:] = content[start - gpa : end - gpa]
            if end - start >= LARGE:
                self.bytes.release(place, end - start)

    @staticmethod
    def _touched(gfn_sets: GfnSets) -> Iterator[tuple[VmSlot, int, int]]:
        for gfns in gfn_sets:
            firsts, counts = runs_of_true(gfns.slot.marked(gfns.selection, HOST_POPULATED))
            for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
                yield gfns.slot, first + int(gfns.offsets[0]), count


def copy_out(
    memory: RealMemory, pool: DevicePool, gfn_sets: GfnSets, gpa: Gpa, length: int
) -> Operation[bytes]:
    """Return `length` bytes from `gpa`, all of whose pages are normal ones that nobody moves."""
    if length <= SMALL:
        return bytes(memory.read(gfn_sets, gpa, length))
    with in_flight(pool, gfn_sets):
        seen: bytes = yield Offload(lambda: bytes(memory.read(gfn_sets, gpa, length)))
    return seen


def copy_in(
    memory: RealMemory, pool: DevicePool, gfn_sets: GfnSets, gpa: Gpa, content: bytes
) -> Operation[None]:
    """Write `content` from `gpa`, all of whose pages are normal ones that nobody moves."""
    mark(gfn_sets, HOST_POPULATED)
    if len(content) <= SMALL:
        memory.write(gfn_sets, gpa, content)
        return
    with in_flight(pool, gfn_sets):
        yield Offload(lambda: memory.write(gfn_sets, gpa, content))
