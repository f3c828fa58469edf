"""UV_PAGE_IN: the Hypervisor offers normal pages for guest pages.

What that means depends on the GFN: a paged-out page is decrypted and verified, a shared one gets its normal
page, one that we asked for during UV_ESM is copied as it is. Anything else is refused, a resident secure page
above all.

Source: ultravisor.rst, UV_PAGE_IN; decisions, "UV_PAGE_IN on a resident secure GFN".
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from pef_kit.columns import GfnSet
from pef_kit.ladder import Codes, Ladder
from pef_kit.operations import Operation, PeerFailure
from pef_kit.refusals import Refusals
from pef_kit.spans import I64, U8, Mask, among
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import PageIn
from pef_protocol.wire import Caller
from pef_ultravisor.designs import READINGS
from pef_ultravisor.from_hypervisor import paging as rungs
from pef_ultravisor.from_hypervisor.paging import Paging
from pef_ultravisor.gfn.columns import FILLED, IMPORTED, MOVING, PROMISED, REFERENCED, WANTED, FrameSlot, Svm
from pef_ultravisor.gfn.table import GFN, Deed, Event
from pef_ultravisor.memory.copy import Pages, importing, opening
from pef_ultravisor.memory.in_flight import in_flight
from pef_ultravisor.state import Ultravisor

Bring: TypeAlias = Callable[[Ultravisor, Svm, Pages], Operation[Codes]]


def source_is_normal(paging: Paging) -> Mask:
    """Pass runs whose source is whole normal pages that back no other GFN, and are not in flight."""
    uv = paging.uv
    passes = uv.normal_pages.whole(paging.addresses, paging.counts)
    rows = passes.nonzero()[0]
    taken = rows[uv.normal_pages.in_use(paging.addresses[rows], paging.counts[rows])]
    passes[taken] = False
    for gfns in rungs.gfn_sets_of(paging, taken):
        now = gfns.slot.normal[gfns.selection]
        offered = gfns.each_address(paging.addresses).view(np.uint64)
        passes[gfns.rows] = True
        passes[gfns.each_row()[(now != offered) & uv.normal_pages.each_in_use(offered)]] = False
    return passes


def not_aborted(paging: Paging) -> Mask:
    """Pass runs of an SVM that is not aborted; of an aborted one those imported ones that are not shared."""

    def served(gfns: GfnSet[FrameSlot]) -> Mask:
        imported = gfns.slot.marked(gfns.selection, IMPORTED)
        return imported & among(gfns.slot.state[gfns.selection], S.SECURE, S.PAGEDOUT)

    return rungs.not_aborted_or(paging, served)


LADDER: Final = Ladder(ladders.PAGE_IN, {**rungs.PLACED, "ra": source_is_normal, "aborted": not_aborted})


def uv_page_in(uv: Ultravisor, caller: Caller, asked: PageIn) -> Operation[Reply]:
    """Answer UV_PAGE_IN."""
    # parameters
    paging = Paging(uv, caller, asked)
    svm = paging.svm

    # checks
    refused_whole, codes = LADDER.climb_runs(paging, paging.runs)
    refusals = paging.refusals
    refusals.add_runs(codes)

    # effect
    if svm is not None:
        with ExitStack() as held:
            entries: list[Entry] = []
            for gfns in paging.gfn_sets(codes):
                addresses = gfns.each_address(paging.addresses)
                entries += take_pages(uv, svm, gfns, addresses, refusals, held)
            yield from bring_in(uv, svm, entries, refusals)

    # reply
    return refusals.reply(refused_whole)


def events_of(svm: Svm, gfns: GfnSet[FrameSlot]) -> U8:
    """Return what UV_PAGE_IN means for each GFN at this moment."""
    slot, chosen = gfns.slot, gfns.selection
    reading = READINGS[svm.design]
    events = np.full(gfns.pages, reading.otherwise, np.uint8)
    if svm.done_outstanding:
        frozen = slot.marked(chosen, IMPORTED) & among(slot.state[chosen], S.SECURE)
        events[~frozen] = reading.at_done
    if reading.spared:
        events[slot.marked(chosen, reading.spared)] = Event.PAGE_IN
    events[slot.marked(chosen, WANTED)] = Event.PAGE_IN_WANTED
    return events


@dataclass(frozen=True, slots=True)
class Entry:
    """Pages that come into their frames, and are in flight."""

    gfns: GfnSet[FrameSlot]
    wanted: Mask
    pages: Pages
    bring: Bring


def take_pages(
    uv: Ultravisor,
    svm: Svm,
    gfns: GfnSet[FrameSlot],
    addresses: I64,
    refusals: Refusals,
    held: ExitStack,
) -> list[Entry]:
    """Do what UV_PAGE_IN means for each GFN of a set; `addresses` has a normal page for each.

    Return what remains to be brought in; `held` keeps it in flight. Order: nothing is yielded here, so that
    all runs of a message are judged and marked together, by the checks that they passed.
    """
    slot, chosen = gfns.slot, gfns.selection
    judgement = rungs.judged(gfns, GFN.judge_each(events_of(svm, gfns), slot.state[chosen]))
    offsets = gfns.each_offset()

    enters = among(judgement.does, Deed.IMPORT, Deed.OPEN)
    if np.count_nonzero(enters):
        new = enters & _not_counted(svm, slot, offsets)
        if not uv.has_room(int(np.count_nonzero(new))):
            judgement.code[new] = UCode.U_RETRY
            judgement.does[new] = Deed.WAIT
            enters &= ~new

    mapped = among(judgement.does, Deed.MAP)
    if np.count_nonzero(mapped):
        uv.normal_pages.give_back(slot.normal[offsets[mapped]])
        uv.normal_pages.take(addresses[mapped].astype(np.uint64))
        slot.normal[offsets[mapped]] = addresses[mapped]
    settled = among(judgement.code, UCode.U_SUCCESS) & ~enters
    slot.put(offsets[settled], judgement.then[settled])
    refusals.add_pages(gfns, np.where(enters, 0, judgement.code))

    entries: list[Entry] = []
    for deed, bring in ((Deed.IMPORT, _import), (Deed.OPEN, _open)):
        wanted = among(judgement.does, deed)
        if np.count_nonzero(wanted):
            pages = Pages(slot, offsets[wanted], addresses[wanted])
            room = int(np.count_nonzero(_not_counted(svm, slot, pages.offsets)))
            marked = [(slot, pages.offsets)]
            held.enter_context(in_flight(uv, svm, MOVING, marked, pages=[pages.addresses], room=room))
            entries.append(Entry(gfns, wanted, pages, bring))
    return entries


def _not_counted(svm: Svm, slot: FrameSlot, offsets: I64) -> Mask:
    """Mark the GFNs at `offsets` that neither the resident nor the promised pages include yet."""
    counted = among(slot.state[offsets], S.SECURE)
    if not svm.whole:
        counted &= slot.marked(offsets, IMPORTED)
    counted |= slot.marked(offsets, PROMISED)
    return ~counted


def bring_in(uv: Ultravisor, svm: Svm, entries: list[Entry], refusals: Refusals) -> Operation[None]:
    """Bring pages in, entry by entry."""
    for entry in entries:
        codes = np.zeros(entry.gfns.pages, np.int16)
        try:
            codes[entry.wanted] = yield from entry.bring(uv, svm, entry.pages)
        except PeerFailure as failure:
            refusals.detail = str(failure)
            codes[entry.wanted] = UCode.U_BUSY
        refusals.add_pages(entry.gfns, codes)


def _import(uv: Ultravisor, _: Svm, pages: Pages) -> Operation[Codes]:
    slot, offsets = pages.slot, pages.offsets
    slot.mark(offsets, FILLED)
    try:
        for some in pages.batches():
            yield importing(some)
    except BaseException:
        slot.scrub(offsets)
        slot.unmark(offsets, IMPORTED)
        raise
    slot.mark(offsets, IMPORTED | REFERENCED)
    uv.redeem(slot, offsets)
    return np.zeros(len(pages), np.int16)


def _open(uv: Ultravisor, svm: Svm, pages: Pages) -> Operation[Codes]:
    slot, offsets = pages.slot, pages.offsets
    slot.mark(offsets, FILLED)
    found: list[Mask] = []
    try:
        for some in pages.batches():
            transfer, opened = opening(some, svm.sealer)
            yield transfer
            found.append(opened)
    except BaseException:
        slot.scrub(offsets)
        raise
    genuine = np.concatenate(found)
    slot.scrub(offsets[~genuine])
    slot.put(offsets[genuine], S.SECURE)
    slot.mark(offsets[genuine], REFERENCED)
    uv.redeem(slot, offsets[genuine])
    slot.counter[offsets[genuine]] = 0
    slot.tag[offsets[genuine]] = 0
    return np.where(genuine, UCode.U_SUCCESS, UCode.U_P3).astype(np.int16)
