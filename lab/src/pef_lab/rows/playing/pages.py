"""What a played Ultravisor keeps of an SVM: its slots, and of each GFN where its bytes are.

| a page is | its bytes |
|---|---|
| NEW | zero: nobody ever brought it |
| FRAME | in the frame |
| OUT | with the Hypervisor, sealed |
| SHARED, WITHDRAWN | in the Hypervisor's normal page; withdrawn since |

A page is sealed by a stream of bytes that never comes twice: what the Hypervisor holds tells nobody anything.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Final

from pef_protocol.hypercalls import SvmInitDone, SvmPageIn
from pef_protocol.quantities import H_PAGE_IN_SHARED, PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import Runs

BLANK: Final = bytes(PAGE_SIZE)
MOST_WANTED: Final = 1 << 17
"""Pages: whoever asks for more asks for what no row has."""


class Place(StrEnum):
    """Where the bytes of a GFN are."""

    NEW = "new"
    FRAME = "in its frame"
    OUT = "paged out"
    SHARED = "shared"
    WITHDRAWN = "shared, without a mapping"


@dataclass(slots=True)
class Page:
    """A GFN. `sealed` is what the Hypervisor was given of it, `ra` the normal page that it shares."""

    place: Place = Place.NEW
    content: bytes = field(default=BLANK, repr=False)
    sealed: bytes = field(default=b"", repr=False)
    ra: int = 0


@dataclass(slots=True)
class PlayedSvm:
    """An SVM. `wanted` has the GFNs that an H_SVM_PAGE_IN of ours is outstanding for: whether to be shared.

    `finishing`: our H_SVM_INIT_DONE is outstanding. `aborted`: UV_ESM failed, pages are given back in clear.
    """

    slots: dict[int, tuple[int, int]] = field(default_factory=dict)
    """First GFN and pages, by slot id."""
    pages: dict[int, Page] = field(default_factory=dict)
    wanted: dict[int, bool] = field(default_factory=dict)
    finishing: bool = False
    aborted: bool = False

    def page(self, gfn: int) -> Page | None:
        """Return a GFN's page, or None where it lies in no slot."""
        if not any(first <= gfn < first + pages for first, pages in self.slots.values()):
            return None
        return self.pages.setdefault(gfn, Page())

    @contextmanager
    def asking(self, request: object) -> Iterator[None]:
        """Have a hypercall of ours outstanding: what it asks for is wanted meanwhile."""
        wanted, finishing = dict(self.wanted), self.finishing
        if isinstance(request, SvmPageIn) and request.runs.pages <= MOST_WANTED:
            self.wanted |= dict.fromkeys(gfns_of(request.runs), request.flags == H_PAGE_IN_SHARED)
        self.finishing |= isinstance(request, SvmInitDone)
        try:
            yield
        finally:
            self.wanted, self.finishing = wanted, finishing

    def overlaps(self, first: int, pages: int) -> bool:
        """Tell whether a slot has a GFN of that range."""
        return any(first < one + many and one < first + pages for one, many in self.slots.values())

    def drop(self, slotid: int) -> None:
        """Forget a slot and all that it held."""
        first, pages = self.slots.pop(slotid)
        for gfn in [gfn for gfn in self.pages if first <= gfn < first + pages]:
            del self.pages[gfn]


class Sealer:
    """Seals pages, each with a stream of its own."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._numbers = count()

    def seal(self, content: bytes) -> bytes:
        """Return `content` sealed; never the same bytes twice."""
        stream = hashlib.shake_128(self._secret + next(self._numbers).to_bytes(8, "little")).digest(PAGE_SIZE)
        return (int.from_bytes(content, "little") ^ int.from_bytes(stream, "little")).to_bytes(
            PAGE_SIZE, "little"
        )


def placed(runs: Runs) -> Iterator[tuple[int, int]]:
    """Yield (GFN, real address) of every page; the address is 0 where runs have none."""
    for *ra, gpa, pages in runs:
        for page in range(pages):
            yield (gpa >> PAGE_ORDER) + page, ra[0] + page * PAGE_SIZE if ra else 0


def gfns_of(runs: Runs) -> Iterator[int]:
    """Yield every GFN of runs."""
    return (gfn for gfn, _ in placed(runs))
