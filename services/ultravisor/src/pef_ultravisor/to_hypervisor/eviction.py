"""Making room in secure memory: pages not used lately go out, by H_SVM_PAGE_OUT.

A clock passes over the columns of all SVMs. A page that was used since it last passed is exempt once. So the
SVMs of a host may together be larger than its secure memory. An eviction takes a second lease, on its victim.
A victim is tried once: where it is busy, refused or ended, the next one is.

Source: ultravisor.rst, H_SVM_PAGE_OUT (its use under memory pressure).
"""

from collections.abc import Iterator

import numpy as np

from pef_kit.core import parts
from pef_kit.core.allocation import column
from pef_kit.core.effects import Operation, Turn
from pef_kit.core.lease import Ended, leased
from pef_kit.core.runs import Mask, isin
from pef_protocol.http import PAGES_AT_ONCE
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.columns import (
    IN_FLIGHT,
    REFERENCED,
    REQUESTED,
    FrameSlot,
    Gfns,
    gfn_set_at,
    held_pages,
    page_runs,
)
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.calls import Refused, page_out


def make_room(
    uv: Ultravisor, pages: int, *, new: bool = False, ignore_deadline: bool = False
) -> Operation[bool]:
    """Have enough pages moved out for `pages` more to come in; return whether there is room.

    `new` pages are those of a slot being plugged, which no SVM has yet. Each page that may go is tried once,
    and, where that is `ignore_deadline`, also once time is over.

    Order: the caller holds no mark and no reservation, for victims may be waiting for it.
    """
    if pages > uv.capacity.secure_pages:
        return False
    tried: dict[FrameSlot, Mask] = {}
    while not uv.has_room(pages, new=new):
        found = yield from choose(uv, min(pages - uv.free, PAGES_AT_ONCE), tried)
        if not found:
            return False
        for svm, gfns in found:
            yield from _evict(svm, gfns, ignore_deadline=ignore_deadline)
    return True


def _evict(svm: Svm, gfns: Gfns, *, ignore_deadline: bool) -> Operation[None]:
    """Ask for pages of one SVM to be taken out, under a lease on it."""
    try:
        yield from leased(page_out(svm, page_runs([gfns]), ignore_deadline=ignore_deadline), svm.life)
    except Ended as ended:
        if ended.life is not svm.life:
            raise
    except Refused:
        return


def choose(uv: Ultravisor, wanted: int, tried: dict[FrameSlot, Mask]) -> Operation[list[tuple[Svm, Gfns]]]:
    """Let the clock pass until `wanted` pages are found that were not `tried`, and remember where it stands.

    What is found counts as tried from now on. Others have a turn after each part of a large slot.
    """
    found: list[tuple[Svm, Gfns]] = []
    once_around = list(_from_hand(uv))
    rounds = once_around + [(svm, slot, 0) for svm, slot, _ in once_around] * 2
    passed = 0
    for svm, slot, start in rounds:
        for first in range(start, slot.count, parts.PART):
            part = slice(first, min(first + parts.PART, slot.count))
            passed += part.stop - part.start
            if passed > parts.PART:
                yield Turn()
                passed = part.stop - part.start
            gfns, stop = _pick(svm, slot, part, wanted, tried)
            uv.clock_hand = svm.lpid, slot.first, stop
            if gfns is not None:
                found.append((svm, gfns))
                wanted -= gfns.pages
            if wanted <= 0:
                return found
    return found


def _pick(
    svm: Svm, slot: FrameSlot, part: slice, wanted: int, tried: dict[FrameSlot, Mask]
) -> tuple[Gfns | None, int]:
    """Let the clock pass over a part of a slot; return the pages that go, and the offset where it stops."""
    candidates = _candidates(svm, slot, part)
    if slot in tried:
        candidates &= ~tried[slot][part]
    exempt = candidates & slot.marked(part, REFERENCED)
    offsets = np.flatnonzero(candidates & ~exempt)[:wanted] + part.start
    stop = int(offsets[-1]) + 1 if len(offsets) == wanted else int(part.stop)
    slot.unmark(slice(part.start, stop), REFERENCED)
    if not len(offsets):
        return None, stop
    tried.setdefault(slot, column(slot.count, np.bool_))[offsets] = True
    return gfn_set_at(slot, offsets), stop


def _candidates(svm: Svm, slot: FrameSlot, part: slice) -> Mask:
    """Tell which GFNs of a part of a slot may go out: resident, and in nobody's hand."""
    secure = svm.state is UvVmState.SECURE
    resident = isin(slot.state[part], S.SECURE) if secure else held_pages(slot, part)
    free: Mask = resident & ~slot.marked(part, IN_FLIGHT | REQUESTED)
    return free


def _from_hand(uv: Ultravisor) -> Iterator[tuple[Svm, FrameSlot, int]]:
    """Yield every slot that may lose pages once, from the clock's hand on, with the offset to start at."""
    rows = sorted(
        ((svm, slot) for svm in uv.svms.values() if svm.state is not UvVmState.ABORT for slot in svm.slots),
        key=lambda row: (row[0].lpid, row[1].first),
    )
    lpid, first, offset = uv.clock_hand
    places = [(svm.lpid, slot.first) for svm, slot in rows]
    turn = next((at for at, place in enumerate(places) if place >= (lpid, first)), 0)
    for svm, slot in rows[turn:] + rows[:turn]:
        at_hand = (svm.lpid, slot.first) == (lpid, first) and offset < slot.count
        yield svm, slot, offset if at_hand else 0
