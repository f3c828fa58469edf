"""What a call has in flight: marks, reservations, and the normal pages that its bytes go to or come from.

All of them are set here, from the check that allows the effect to the landing of the last byte, and all go
when the call leaves, whatever ends it. So nobody gives a page to others while bytes are under way to it.

Source: rule 13 of ARCHITECTURE.md, "Identity and time"; attack 54.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from pef_kit.core.runs import I64, U64
from pef_ultravisor.gfn.columns import HCALL_PENDING, RESERVED, FrameSlot, Gfns
from pef_ultravisor.state import Svm, Ultravisor


@contextmanager
def in_flight(
    uv: Ultravisor,
    svm: Svm,
    mark: int,
    gfn_sets: Sequence[Gfns],
    *,
    pages: Iterable[I64 | U64] = (),
    changing: Sequence[FrameSlot] = (),
    room: int = 0,
) -> Iterator[None]:
    """Mark the GFNs of `gfn_sets`, pin normal `pages`, and keep `room` pages of secure memory.

    `pages`: arrays of real addresses (bytes, one per page; 0: none). Where `mark` includes RESERVED, room is
    kept for each GFN too, until it is redeemed. The slots of `gfn_sets`, and those `changing` in which GFNs
    are between two states, can't be taken away meanwhile.
    """
    if not svm.settings.marks_hypercalls:
        mark &= ~HCALL_PENDING
    chosen = [(gfns.slot, gfns.selection) for gfns in gfn_sets]
    slots = [*(slot for slot, _ in chosen), *changing]
    pinned = [each.astype(np.uint64) for each in pages]
    reserved = sum(gfns.pages for gfns in gfn_sets) if mark & RESERVED else 0
    svm.open_calls += 1
    uv.reserved += room + reserved
    for slot in slots:
        slot.calls_in_flight += 1
    for slot, selection in chosen if mark else ():
        slot.mark(selection, mark)
    for each in pinned:
        uv.normal_pages.pin(each)
    try:
        yield
    finally:
        for each in pinned:
            uv.normal_pages.unpin(each)
        for slot, selection in chosen if mark else ():
            if mark & RESERVED:
                uv.unreserve(slot, selection)
            slot.unmark(selection, mark)
        for slot in slots:
            slot.calls_in_flight -= 1
        uv.reserved -= room
        svm.open_calls -= 1
