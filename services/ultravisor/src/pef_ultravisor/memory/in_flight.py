"""What a call has in flight: marks, reservations, and the normal pages that its bytes go to or come from.

All of them are set here, from the check that allows the effect to the landing of the last byte, and all go
when the call leaves, whatever ends it. So nobody gives a page to others while bytes are under way to it.

Source: rule 13 of ARCHITECTURE.md, "Identity and time"; attack 54.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from pef_kit.columns import GfnSet
from pef_kit.spans import I64, U64, Selection
from pef_ultravisor.gfn.columns import PROMISED, FrameSlot, Svm
from pef_ultravisor.state import Ultravisor

Chosen: TypeAlias = Sequence[tuple[FrameSlot, Selection]]
"""GFNs as offsets in their slots."""


@contextmanager
def in_flight(
    uv: Ultravisor,
    svm: Svm,
    mark: int,
    gfns: Chosen,
    *,
    pages: Iterable[I64 | U64] = (),
    changing: Sequence[FrameSlot] = (),
    room: int = 0,
) -> Iterator[None]:
    """Mark `gfns`, pin `pages` (real addresses, one a page), and keep `room` pages of secure memory.

    Where `mark` includes PROMISED, room is kept for each of `gfns` too, until it is redeemed. The slots of
    `gfns`, and those `changing` in which GFNs are between two states, can't be taken away meanwhile.
    """
    slots = [*(slot for slot, _ in gfns), *changing]
    pinned = [each.astype(np.uint64) for each in pages]
    promised = sum(len(slot.marks[chosen]) for slot, chosen in gfns) if mark & PROMISED else 0
    svm.open_calls += 1
    uv.promised += room + promised
    for slot in slots:
        slot.flights += 1
    for slot, chosen in gfns if mark else ():
        slot.mark(chosen, mark)
    for each in pinned:
        uv.normal_pages.pin(each)
    try:
        yield
    finally:
        for each in pinned:
            uv.normal_pages.unpin(each)
        for slot, chosen in gfns if mark else ():
            if mark & PROMISED:
                uv.redeem(slot, chosen)
            slot.unmark(chosen, mark)
        for slot in slots:
            slot.flights -= 1
        uv.promised -= room
        svm.open_calls -= 1


def chosen_in(gfn_sets: Iterable[GfnSet[FrameSlot]]) -> Chosen:
    """Return the GFNs of `gfn_sets` as `in_flight` takes them."""
    return [(gfns.slot, gfns.selection) for gfns in gfn_sets]


def normal_pages_of(gfn_sets: Iterable[GfnSet[FrameSlot]]) -> list[U64]:
    """Return the normal pages behind the GFNs of `gfn_sets`; 0 stands for none."""
    return [gfns.slot.normal[gfns.selection] for gfns in gfn_sets]
