"""The necessary and sufficient set: the guest pages that UV_ESM needs, and nothing beyond it.

`bring` asks for pages that were not imported yet; `held` lets a function see pages, whole and still. What was
imported is frozen from the moment H_SVM_PAGE_IN is answered: no UV_PAGE_IN touches it any more.

Source: specification of the Ultravisor, section 3 ("necessary and sufficient set"); decisions on UV_PAGE_IN
during UV_ESM.
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final, TypeVar

import numpy as np

from pef_kit.operations import Operation, Pause, Work
from pef_kit.parts import part_by_part
from pef_kit.spans import Mask, Selection, among, words_of
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.boot.image import Extent
from pef_ultravisor.gfn.columns import IMPORTED, MOVING, PROMISED, WAITING, WANTED, FrameSlot, Svm, page_runs
from pef_ultravisor.gfn.table import Deed, Event
from pef_ultravisor.memory.in_flight import chosen_in, in_flight
from pef_ultravisor.sharing import GfnSets
from pef_ultravisor.state import Ultravisor
from pef_ultravisor.to_hypervisor.calls import NONSHARED, Busy, Refused, page_in, pages_of
from pef_ultravisor.to_hypervisor.eviction import make_room
from pef_ultravisor.to_hypervisor.faults import InHand, Unsettled, any_of, picked, settled

T = TypeVar("T")

AT_ONCE: Final = 4 * PAGE_SIZE
"""Bytes that are looked at without a thread."""


class EsmFailure(Exception):
    """UV_ESM can't succeed: the code that the guest will read, and why."""

    def __init__(self, code: UCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def covering(svm: Svm, extent: Extent, wrong: UCode, what: str) -> GfnSets:
    """Return the pages of an extent, by slot; raise EsmFailure(`wrong`) where they do not lie in slots."""
    pages = extent.pages
    gfn_sets = svm.slots.covered(pages.start >> PAGE_ORDER, pages.size >> PAGE_ORDER)
    if not gfn_sets:
        raise EsmFailure(wrong, f"{what} does not lie in the VM's memory")
    return gfn_sets


def not_imported(slot: FrameSlot, chosen: Selection) -> Mask:
    """Tell which of the chosen GFNs are left over: secure by default, and never asked for."""
    left_over: Mask = among(slot.state[chosen], S.SECURE) & ~slot.marked(chosen, IMPORTED)
    return left_over


def bring(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets) -> Operation[None]:
    """Import the pages of `gfn_sets` that were not imported yet; raise EsmFailure where they don't come."""
    for attempt in count():
        missing = picked(gfn_sets, [not_imported(part.slot, part.selection) for part in gfn_sets])
        pages = sum(part.pages for part in missing)
        if not missing:
            return
        if not uv.has_room(pages):
            if not (yield from make_room(uv, pages)):
                raise EsmFailure(UCode.U_RETRY, "secure memory is full")
            continue
        try:
            with in_flight(uv, svm, WANTED | WAITING | PROMISED, chosen_in(missing)):
                for runs in messages(page_runs(missing), uv.gfns_a_message):
                    yield from page_in(svm, runs, NONSHARED)
        except Busy as busy:
            if not (yield Pause(attempt)):
                raise refused(busy) from None
            continue
        except Refused as refusal:
            raise refused(refusal) from None
        for part in missing:
            part.slot.mark(part.selection, IMPORTED)
        return


def refused(refusal: Refused) -> EsmFailure:
    """Return how UV_ESM fails by a hypercall that was not done; it can be tried again where that was busy."""
    return EsmFailure(UCode.U_BUSY if isinstance(refusal, Busy) else UCode.U_STATE, str(refusal))


def code_for(reason: Unsettled) -> UCode:
    """Return the code of UV_ESM where pages can't be settled."""
    return UCode.U_BUSY if isinstance(reason, InHand) else UCode.U_STATE


def messages(runs: PageRuns, most: int) -> Iterator[PageRuns]:
    """Yield `runs` as they are or, where `most` is not 0, in messages of at most so many GFNs."""
    if not most:
        yield runs
        return
    addresses = pages_of(runs)
    for first in range(0, len(addresses), most):
        some = addresses[first : first + most]
        yield PageRuns(words_of(some, np.ones_like(some)))


def held(
    uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, extent: Extent, use: Callable[[memoryview], T]
) -> Operation[T]:
    """Return `use(bytes of extent)`, while its pages can be neither moved nor changed."""
    try:
        judgements = yield from settled(uv, svm, gfn_sets, Event.TOUCH)
    except Unsettled as reason:
        raise EsmFailure(code_for(reason), str(reason)) from None
    if any_of(judgements, Deed.DENY) or any_of(judgements, Deed.NORMAL):
        raise EsmFailure(UCode.U_P2, "a part of the image lies on a shared page")
    if extent.size <= AT_ONCE:
        return use(_bytes(gfn_sets, extent))
    with in_flight(uv, svm, MOVING, chosen_in(gfn_sets)):
        outcome: T = yield Work(lambda: use(_bytes(gfn_sets, extent)))
    return outcome


def _bytes(gfn_sets: GfnSets, extent: Extent) -> memoryview:
    """Return the bytes of an extent: in place where one slot holds them, else as a copy."""
    frames = [part.slot.frames.at(int(part.offsets[0]), part.pages << PAGE_ORDER) for part in gfn_sets]
    joined: Any = frames[0] if len(frames) == 1 else np.concatenate(frames)
    start = extent.start % PAGE_SIZE
    return memoryview(joined[start : start + extent.size].data)


def brought(uv: Ultravisor, svm: Svm, extent: Extent, wrong: UCode, what: str) -> Operation[bytes]:
    """Import an extent and return a copy of its bytes."""
    gfn_sets = covering(svm, extent, wrong, what)
    yield from bring(uv, svm, gfn_sets)
    return (yield from held(uv, svm, gfn_sets, extent, bytes))


def forget_marks(svm: Svm, marks: int) -> Operation[None]:
    """Clear marks of every GFN of an SVM."""

    def forget(slot: FrameSlot, part: slice) -> None:
        for block in slot.blocks_of(part):
            if slot.marks[block].any():
                slot.unmark(block, marks)

    return part_by_part(svm.slots, forget)
