"""Pages whose bytes tell who wrote them and when, made and recognised for thousands of pages at once.

A page is 2,048 times the same record of 32 bytes, such as `gen 2 page 0000001234 of guest.` and
an end of line. So what a reader gets back is one of four things: zero, the text of a generation for this very
page, some other text, or opaque bytes, as ciphertext is.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pef_lab.sizes import counted
from pef_protocol.quantities import PAGE_SIZE

RECORD_BYTES: Final = 32
RECORDS: Final = PAGE_SIZE // RECORD_BYTES
DIGITS: Final = 10
MARKER: Final = b" of guest.\n"
"""In every record; in random bytes once in 2**88 places."""

_GENERATION: Final = slice(4, 5)
_NUMBER: Final = slice(11, 11 + DIGITS)
_BLANK: Final = np.frombuffer(b"gen 0 page 0000000000 of guest.\n", np.uint8)
_POWERS: Final = 10 ** np.arange(DIGITS - 1, -1, -1, dtype=np.int64)


class Generation(IntEnum):
    """When a text was written; its number stands in the text."""

    BEFORE_ESM = 1
    PRIVATE = 2
    SHARED_BY_GUEST = 3
    SHARED_BY_HOST = 4
    PLUGGED = 5
    SECOND_BOOT = 6
    SECOND_PRIVATE = 7

    @property
    def words(self) -> str:
        """Say what a text of this generation is."""
        return _WORDS[self]


_WORDS: Final = {
    Generation.BEFORE_ESM: "the guest's text from before UV_ESM",
    Generation.PRIVATE: "the guest's private text",
    Generation.SHARED_BY_GUEST: "the guest's text in a shared page",
    Generation.SHARED_BY_HOST: "the host's text in a shared page",
    Generation.PLUGGED: "the guest's text in plugged memory",
    Generation.SECOND_BOOT: "the guest's text of the second boot",
    Generation.SECOND_PRIVATE: "the guest's private text of the second boot",
}

ZERO: Final = 0
OTHER_TEXT: Final = 254
OPAQUE: Final = 255
"""Kinds of a page beside the numbers of generations."""

Kinds = NDArray[np.uint8]


def records_of(generation: Generation, gfns: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the record of each page: uint8, shape (pages, 32)."""
    records = np.tile(_BLANK, (len(gfns), 1))
    records[:, _GENERATION] = ord("0") + int(generation)
    records[:, _NUMBER] = ord("0") + gfns[:, None] // _POWERS % 10
    return records


def text_of(generation: Generation, first: int, count: int) -> bytes:
    """Return the text of `generation` for `count` pages from GFN `first`."""
    records = records_of(generation, np.arange(first, first + count, dtype=np.int64))
    return np.broadcast_to(records[:, None, :], (count, RECORDS, RECORD_BYTES)).tobytes()


def kinds_of(octets: bytes, first: int) -> Kinds:
    """Return what each page of `octets` is, the first being GFN `first`: uint8, one element a page.

    ZERO, the number of the generation whose text for that page it is whole, OTHER_TEXT where any other text
    of the lab is in it, OPAQUE where nothing is known of it.
    """
    pages = np.frombuffer(octets, np.uint64).reshape(-1, RECORDS, RECORD_BYTES // 8)
    gfns = np.arange(first, first + len(pages), dtype=np.int64)
    kinds = np.full(len(pages), OPAQUE, np.uint8)
    empty = np.flatnonzero(pages[:, 0, 0] == 0)
    kinds[empty[_whole(pages, empty, np.zeros((len(empty), 1), np.uint64))]] = ZERO
    for generation in Generation:
        records = records_of(generation, gfns).view(np.uint64)
        likely = np.flatnonzero((kinds == OPAQUE) & (pages[:, 0] == records).all(axis=1))
        kinds[likely[_whole(pages, likely, records[likely])]] = generation
    for unknown in np.flatnonzero(kinds == OPAQUE) if MARKER in octets else ():
        if MARKER in octets[unknown * PAGE_SIZE : (unknown + 1) * PAGE_SIZE]:
            kinds[unknown] = OTHER_TEXT
    return kinds


def _whole(
    pages: NDArray[np.uint64], chosen: NDArray[np.intp], records: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """Tell which of the chosen pages are their record from end to end."""
    candidates = pages if len(chosen) == len(pages) else pages[chosen]
    same: NDArray[np.bool_] = (candidates == records[:, None]).all(axis=(1, 2))
    return same


def name_of(kind: int) -> str:
    """Say what a kind is."""
    if kind == ZERO:
        return "zero"
    if kind == OPAQUE:
        return "ciphertext or other opaque bytes"
    return "mixed or misplaced text" if kind == OTHER_TEXT else Generation(kind).words


@dataclass(slots=True)
class Tally:
    """Counts kinds of pages, and remembers where each was first seen."""

    counts: dict[int, int]
    firsts: dict[int, int]

    @classmethod
    def empty(cls) -> "Tally":
        """Return a tally of nothing."""
        return cls({}, {})

    def add(self, kinds: Kinds, first: int) -> None:
        """Count the pages from GFN `first`."""
        for kind in np.unique(kinds):
            places = np.flatnonzero(kinds == kind)
            self.counts[int(kind)] = self.counts.get(int(kind), 0) + len(places)
            self.firsts.setdefault(int(kind), first + int(places[0]))

    def only(self, *allowed: int) -> bool:
        """Tell whether pages were counted, and every one is of an allowed kind."""
        return bool(self.counts) and set(self.counts) <= set(allowed)

    def __str__(self) -> str:
        if len(self.counts) == 1:
            ((kind, pages),) = self.counts.items()
            return name_of(kind) + (f" in all {pages:,} pages" if pages > 1 else "")
        parts = (
            f"{name_of(kind)} in {counted(pages, 'page')}, from GFN {self.firsts[kind]:#x}"
            for kind, pages in sorted(self.counts.items())
        )
        return "; ".join(parts) or "nothing"
