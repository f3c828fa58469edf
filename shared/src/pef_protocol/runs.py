"""Runs of pages: the unit in which every paging call speaks.

A run is a row of unsigned 64-bit numbers. One page is a run of one; a message carries any number of runs.
Rows are kept as one block of little-endian words, so that a hundred thousand scattered runs cost one copy
on the wire and one `frombuffer` on arrival.

| kind | a row is |
|---|---|
| `PageRuns` | guest physical address, pages |
| `PlacedRuns` | real address, guest physical address, pages |
| `CodedRuns` | guest physical address, pages, return code (two's complement) |
"""

import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from pef_protocol.quantities import U64_MAX

WORD_BYTES = 8


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows of `WIDTH` unsigned 64-bit numbers, in the order they are to be treated."""

    WIDTH: ClassVar[int]
    COLUMNS: ClassVar[tuple[str, ...]]

    words: bytes = b""

    def __post_init__(self) -> None:
        if len(self.words) % (self.WIDTH * WORD_BYTES):
            message = f"{len(self.words)} bytes are not rows of {self.WIDTH} 64-bit numbers"
            raise ValueError(message)

    @classmethod
    def of(cls, *rows: tuple[int, ...]) -> Self:
        """Make runs of `rows`, each `WIDTH` numbers (negative ones in two's complement)."""
        return cls.from_rows(rows)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, ...]]) -> Self:
        """Make runs of an iterable of rows; raise ValueError where a row or a number has another width."""
        flat = array("Q")
        for row in rows:
            if len(row) != cls.WIDTH:
                message = f"a run is {' , '.join(cls.COLUMNS)}: {len(row)} numbers given"
                raise ValueError(message)
            for number in row:
                if not -(1 << 63) <= number <= U64_MAX:
                    message = f"{number} is not a 64-bit number"
                    raise ValueError(message)
                flat.append(number & U64_MAX)
        if sys.byteorder == "big":  # pragma: no cover
            flat.byteswap()
        return cls(flat.tobytes())

    def __len__(self) -> int:
        return len(self.words) // (self.WIDTH * WORD_BYTES)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        flat = array("Q")
        flat.frombytes(self.words)
        if sys.byteorder == "big":  # pragma: no cover
            flat.byteswap()
        return zip(*(iter(flat),) * self.WIDTH, strict=True)

    @property
    def pages(self) -> int:
        """Sum the pages of all runs."""
        flat = array("Q")
        flat.frombytes(self.words)
        if sys.byteorder == "big":  # pragma: no cover
            flat.byteswap()
        return sum(flat[self.COLUMNS.index("count") :: self.WIDTH])


class PageRuns(Runs):
    """Runs of (guest physical address, pages)."""

    __slots__ = ()
    WIDTH = 2
    COLUMNS = ("gpa", "count")


class PlacedRuns(Runs):
    """Runs of (real address, guest physical address, pages): a place in normal memory for each page."""

    __slots__ = ()
    WIDTH = 3
    COLUMNS = ("ra", "gpa", "count")


class CodedRuns(Runs):
    """Runs of (guest physical address, pages, return code)."""

    __slots__ = ()
    WIDTH = 3
    COLUMNS = ("gpa", "count", "code")

    def coded(self) -> Iterator[tuple[int, int, int]]:
        """Yield (guest physical address, pages, signed code)."""
        for gpa, count, code in self:
            yield gpa, count, code - (1 << 64) if code >> 63 else code
