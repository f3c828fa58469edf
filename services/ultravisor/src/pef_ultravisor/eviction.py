"""Making room in secure memory: pages not used lately go out, by H_SVM_PAGE_OUT.

A clock passes over the columns of all SVMs. A page that was used since it last passed is spared once. So the
SVMs of a host may together be larger than its secure memory.

Source: ultravisor.rst, H_SVM_PAGE_OUT (its use under memory pressure).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from pef_kit.columns import Portion, chosen_where
from pef_kit.operations import PATIENCE, Operation, Pause
from pef_kit.spans import Mask
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.frames import IN_FLIGHT, REFERENCED, WANTED, FrameSlot, Svm, held_pages, page_runs
from pef_ultravisor.machine import Ultravisor
from pef_ultravisor.requests import Refused, page_out

ROUNDS: Final = 4
"""How often room is made anew when others take what was made."""


@dataclass(frozen=True, slots=True)
class Victims:
    """Pages of one SVM that are to go out."""

    svm: Svm
    portion: Portion[FrameSlot]


def make_room(uv: Ultravisor, pages: int, *, new: bool = False) -> Operation[bool]:
    """Have enough pages moved out for `pages` more to come in; return whether there is room.

    `new` pages are those of a slot being plugged, which no SVM has yet.
    """
    if pages > uv.capacity.secure_pages:
        return False
    for attempt in range(ROUNDS):
        if uv.has_room(pages, new=new):
            return True
        for victims in choose(uv, pages - uv.free):
            try:
                yield from page_out(victims.svm.lpid, page_runs([victims.portion]))
            except Refused:
                continue
        yield Pause(min(attempt, PATIENCE))
    return uv.has_room(pages, new=new)


def choose(uv: Ultravisor, wanted: int) -> list[Victims]:
    """Let the clock pass until `wanted` pages are found, and remember where it stands."""
    found: list[Victims] = []
    once_around = list(_from_hand(uv))
    for svm, slot, start in once_around + [(svm, slot, 0) for svm, slot, _ in once_around] * 2:
        candidates = _candidates(svm, slot)
        candidates[:start] = False
        for earlier in found:
            if earlier.portion.slot is slot:
                candidates[earlier.portion.chosen] = False
        spared = candidates & slot.marked(slice(None), REFERENCED)
        offsets = np.flatnonzero(candidates & ~spared)[:wanted]
        passed = slice(start, int(offsets[-1]) + 1 if len(offsets) == wanted else slot.count)
        slot.unmark(passed, REFERENCED)
        if len(offsets):
            chosen = np.zeros(slot.count, np.bool_)
            chosen[offsets] = True
            portion = chosen_where(slot, chosen)
            if portion is not None:
                found.append(Victims(svm, portion))
            wanted -= len(offsets)
        uv.clock_hand = svm.lpid, slot.first, int(passed.stop)
        if wanted <= 0:
            break
    return found


def _candidates(svm: Svm, slot: FrameSlot) -> Mask:
    """Tell which GFNs of a slot may go out: resident, and in nobody's hand."""
    resident = slot.state == S.SECURE if svm.state is UvVmState.SECURE else held_pages(slot)
    free: Mask = resident & ~slot.marked(slice(None), IN_FLIGHT | WANTED)
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
