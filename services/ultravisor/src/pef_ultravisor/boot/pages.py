"""The necessary and sufficient set: the guest pages that UV_ESM needs, and nothing beyond it.

`import_pages` asks for pages that were not imported yet; `with_pinned` lets a function see the bytes of pages
while nobody moves or changes them. What was imported is frozen from the moment H_SVM_PAGE_IN is answered: no
UV_PAGE_IN touches it any more.

Source: specification of the Ultravisor, section 3 ("necessary and sufficient set"); decisions on UV_PAGE_IN
during UV_ESM.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, Final, TypeVar

import numpy as np

from pef_kit.core.columns import gfn_set_of
from pef_kit.core.effects import Offload, Operation, PeerFailure, Turn, pause
from pef_kit.core.parts import part_by_part
from pef_kit.core.runs import I64, Mask, isin, words_of
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.boot.image import EsmFailure, Extent
from pef_ultravisor.gfn.columns import (
    BUSY,
    HCALL_PENDING,
    IMPORTED,
    REQUESTED,
    RESERVED,
    FrameSlot,
    Gfns,
    GfnSets,
    count_pages,
    gfn_set_at,
    in_parts,
    in_state,
    page_runs,
    picked,
)
from pef_ultravisor.gfn.table import Action, Event
from pef_ultravisor.in_flight import in_flight
from pef_ultravisor.memory.copy import copy_out
from pef_ultravisor.state import Svm, Ultravisor
from pef_ultravisor.to_hypervisor.calls import NONSHARED, Busy, Refused, page_in, pages_of
from pef_ultravisor.to_hypervisor.eviction import make_room
from pef_ultravisor.to_hypervisor.faults import FaultBusy, FaultError, any_of, resolve_fault

T = TypeVar("T")

AT_ONCE: Final = 4 * PAGE_SIZE
"""Bytes that are looked at without a thread."""
READ_AT_ONCE: Final = PAGE_SIZE
"""Bytes of a device tree or an ESM blob that are read without a thread."""


def covering(svm: Svm, extent: Extent, wrong: UCode, what: str) -> GfnSets:
    """Return the pages of an extent, by slot; raise EsmFailure(`wrong`) where they do not lie in slots."""
    pages = extent.pages
    gfn_sets = svm.slots.covered(pages.start >> PAGE_ORDER, pages.size >> PAGE_ORDER)
    if not gfn_sets:
        raise EsmFailure(wrong, f"{what} does not lie in the VM's memory")
    return gfn_sets


def import_extent(uv: Ultravisor, svm: Svm, extent: Extent, wrong: UCode, what: str) -> Operation[GfnSets]:
    """Import the pages of an extent, and return them; raise EsmFailure where they can't be had."""
    gfn_sets = covering(svm, extent, wrong, what)
    yield from import_pages(uv, svm, gfn_sets)
    return gfn_sets


def read_extent(uv: Ultravisor, svm: Svm, extent: Extent, wrong: UCode, what: str) -> Operation[bytes]:
    """Import an extent and return a copy of its bytes."""
    gfn_sets = yield from import_extent(uv, svm, extent, wrong, what)
    return (yield from with_pinned(uv, svm, gfn_sets, extent, bytes))


def import_pages(uv: Ultravisor, svm: Svm, gfn_sets: GfnSets) -> Operation[None]:
    """Import the pages of `gfn_sets` that were not imported yet; raise EsmFailure where they don't come.

    What is out, by now or since a try before, is not asked for, but will be measured like the rest: so it
    counts as imported, too, and its slot stays.
    """
    for attempt in count():
        for out in in_state(gfn_sets, S.PAGEDOUT):
            out.slot.mark(out.selection, IMPORTED)
        missing = picked(gfn_sets, [_not_imported(gfns) for gfns in gfn_sets])
        pages = count_pages(missing)
        if not missing:
            return
        if not uv.has_room(pages):
            if not (yield from make_room(uv, pages)):
                raise EsmFailure(UCode.U_RETRY, "secure memory is full")
            continue
        try:
            with in_flight(uv, svm, REQUESTED | HCALL_PENDING | RESERVED, missing):
                for runs in messages(page_runs(missing), uv.gfns_a_message):
                    yield from page_in(svm, runs, NONSHARED)
        except Busy as busy:
            if not (yield from pause(attempt)):
                raise refused(busy) from None
            continue
        except Refused as refusal:
            raise refused(refusal) from None
        for part in missing:
            part.slot.mark(part.selection, IMPORTED)
        return


def import_all(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """Import, where the design wants it, every GFN that nobody asked for yet."""
    if not svm.settings.asks_for_every_gfn:
        return
    everything = [gfn_set_of(slot, 0, slot.count) for slot in svm.slots]
    for place, part in enumerate(in_parts(everything)):
        if place:
            yield Turn()
        yield from import_pages(uv, svm, part)


def _not_imported(gfns: Gfns) -> Mask:
    """Tell which GFNs are secure by default, and were never asked for."""
    secure: Mask = isin(gfns.slot.state[gfns.selection], S.SECURE)
    return secure & ~gfns.slot.marked(gfns.selection, IMPORTED)


def refused(refusal: Refused) -> EsmFailure:
    """Return how UV_ESM fails by a hypercall that was not done; it can be tried again where that was busy."""
    return EsmFailure(UCode.U_BUSY if isinstance(refusal, Busy) else UCode.U_STATE, str(refusal))


def code_for(reason: FaultError) -> UCode:
    """Return the code of UV_ESM where pages can't be brought into a state to go on."""
    return UCode.U_BUSY if isinstance(reason, FaultBusy) else UCode.U_STATE


def messages(runs: PageRuns, most: int) -> Iterator[PageRuns]:
    """Yield `runs` as they are or, where `most` is not 0, in messages of at most so many GFNs."""
    if not most:
        yield runs
        return
    addresses = pages_of(runs)
    for first in range(0, len(addresses), most):
        some = addresses[first : first + most]
        yield PageRuns(words_of(some, np.ones_like(some)))


def with_pinned(
    uv: Ultravisor, svm: Svm, gfn_sets: GfnSets, extent: Extent, use: Callable[[memoryview], T]
) -> Operation[T]:
    """Return `use(bytes of extent)`, while its pages can be neither moved nor changed."""
    try:
        judgements = yield from resolve_fault(uv, svm, gfn_sets, Event.TOUCH)
    except FaultError as reason:
        raise EsmFailure(code_for(reason), str(reason)) from None
    if any_of(judgements, Action.DENY) or any_of(judgements, Action.USE_NORMAL):
        raise EsmFailure(UCode.U_P2, "a part of the image lies on a shared page")
    if extent.size <= AT_ONCE:
        return use(_bytes(gfn_sets, extent))
    with in_flight(uv, svm, BUSY, gfn_sets):
        outcome: T = yield Offload(lambda: use(_bytes(gfn_sets, extent)))
    return outcome


def off_the_loop(size: int, read: Callable[[], T]) -> Operation[T]:
    """Return what `read` makes of `size` bytes that were copied; where they are many, a thread reads them."""
    if size <= READ_AT_ONCE:
        return read()
    outcome: T = yield Offload(read)
    return outcome


def _bytes(gfn_sets: GfnSets, extent: Extent) -> memoryview:
    """Return the bytes of an extent: in place where one slot holds them, else as a copy."""
    frames = [part.slot.frames.at(int(part.offsets[0]), part.pages << PAGE_ORDER) for part in gfn_sets]
    joined: Any = frames[0] if len(frames) == 1 else np.concatenate(frames)
    start = extent.start % PAGE_SIZE
    return memoryview(joined[start : start + extent.size].data)


def unimported(svm: Svm) -> int:
    """Count the pages that no H_SVM_PAGE_IN asked for."""
    return sum(slot.count - slot.absent - slot.imported + slot.imported_absent for slot in svm.slots)


def clear_imported(svm: Svm) -> Operation[None]:
    """Clear the mark IMPORTED of every GFN of an SVM."""

    def clear(slot: FrameSlot, part: slice) -> None:
        for block in slot.blocks_of(part):
            if slot.marks[block].any():
                slot.unmark(block, IMPORTED)

    return part_by_part(svm.slots, clear)


def restore_shared(uv: Ultravisor, svm: Svm) -> Operation[None]:
    """Give imported pages that were pseudo-shared back to the normal pages behind them, which are zero.

    The other imported pages go back by UV_PAGE_OUT, for which the Hypervisor asks.
    """
    found: list[tuple[FrameSlot, I64]] = []

    def observe(slot: FrameSlot, part: slice) -> None:
        shared = isin(slot.state[part], S.PSEUDO_SHARED) & slot.marked(part, IMPORTED)
        if shared.any():
            found.append((slot, np.flatnonzero(shared) + part.start))

    yield from part_by_part(svm.slots, observe)
    for slot, candidates in found:
        offsets = candidates[~slot.in_flight(candidates)]
        if svm.slots.get(slot.slot_id) is not slot or not len(offsets):
            continue
        pages, addresses = gfn_set_at(slot, offsets), slot.normal[offsets].astype(np.int64)
        with in_flight(uv, svm, BUSY, [pages], pages=[addresses]), suppress(PeerFailure):
            yield from copy_out(pages, addresses)
