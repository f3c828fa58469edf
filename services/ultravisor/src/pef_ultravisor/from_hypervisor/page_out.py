"""UV_PAGE_OUT: the Hypervisor takes guest pages out of secure memory, encrypted.

A shared page is in normal memory already: success, nothing done. After a failed UV_ESM the pages that the
Hypervisor itself had given go back in clear, for that VM never ran secure.

Source: ultravisor.rst, UV_PAGE_OUT; decisions, "UV_PAGE_OUT of a shared GFN", "H_SVM_INIT_ABORT".
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np

from pef_kit.columns import GfnSet
from pef_kit.ladder import Ladder
from pef_kit.operations import Operation, PeerFailure
from pef_kit.refusals import Refusals
from pef_kit.spans import I64, U8, U64, Mask, among
from pef_protocol import ladders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageOut
from pef_protocol.wire import Caller
from pef_ultravisor.from_hypervisor import paging as rungs
from pef_ultravisor.from_hypervisor.paging import Paging
from pef_ultravisor.gfn.columns import IMPORTED, MOVING, WAITING, FrameSlot, Svm
from pef_ultravisor.gfn.table import GFN, Deed, Event
from pef_ultravisor.memory.copy import Pages, giving_back, sealing
from pef_ultravisor.memory.in_flight import in_flight
from pef_ultravisor.state import Ultravisor


def target_is_free(paging: Paging) -> Mask:
    """Pass runs whose target is whole normal pages that back no GFN of any SVM, and are not in flight."""
    uv = paging.uv
    passes = uv.normal_pages.whole(paging.addresses, paging.counts)
    rows = passes.nonzero()[0]
    taken = rows[uv.normal_pages.in_use(paging.addresses[rows], paging.counts[rows])]
    passes[taken] = False
    for gfns in rungs.gfn_sets_of(paging, taken):
        # A page that backs the very GFN it is offered for is shared: nothing is to do.
        elsewhere = gfns.slot.normal[gfns.selection] != gfns.each_address(paging.addresses).view(np.uint64)
        passes[gfns.rows] = True
        passes[gfns.each_row()[elsewhere]] = False
    return passes


def not_aborted(paging: Paging) -> Mask:
    """Pass runs of an SVM that is not aborted; of an aborted one imported GFNs, and those that are out."""

    def served(gfns: GfnSet[FrameSlot]) -> Mask:
        out = among(gfns.slot.state[gfns.selection], S.PAGEDOUT)
        return out | gfns.slot.marked(gfns.selection, IMPORTED)

    return rungs.not_aborted_or(paging, served)


LADDER: Final = Ladder(ladders.PAGE_OUT, {**rungs.PLACED, "ra": target_is_free, "aborted": not_aborted})


def uv_page_out(uv: Ultravisor, caller: Caller, asked: PageOut) -> Operation[Reply]:
    """Answer UV_PAGE_OUT."""
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
            leaving: list[Leaving] = []
            for gfns in paging.gfn_sets(codes):
                leaving += give_pages(uv, svm, gfns, gfns.each_address(paging.addresses), refusals, held)
            yield from take_out(svm, leaving, refusals)

    # reply
    return refusals.reply(refused_whole)


@dataclass(frozen=True, slots=True)
class Leaving:
    """Pages that leave their frames, and are in flight, and how."""

    gfns: GfnSet[FrameSlot]
    wanted: Mask
    pages: Pages
    take: Callable[[Svm, Pages], Operation[None]]


def give_pages(
    uv: Ultravisor,
    svm: Svm,
    gfns: GfnSet[FrameSlot],
    addresses: I64,
    refusals: Refusals,
    held: ExitStack,
) -> list[Leaving]:
    """Do what UV_PAGE_OUT means for each GFN of a set; `addresses` has a normal page for each.

    Return what remains to be taken out; `held` keeps it in flight. Trust: nothing is yielded here. A run is
    given back in clear only by the check of this moment, that the SVM never ran secure; later it may be
    aborted for another reason.
    """
    slot, chosen = gfns.slot, gfns.selection
    event = Event.PAGE_OUT_ABORTED if svm.state is UvVmState.ABORT else Event.PAGE_OUT
    judgement = rungs.judged(gfns, GFN.judge(event, slot.state[chosen]))
    leaves = among(judgement.does, Deed.SEAL, Deed.GIVE_BACK)
    waiting = leaves & slot.marked(chosen, WAITING)
    judgement.code[waiting] = UCode.U_BUSY
    leaves &= ~waiting
    refusals.add_pages(gfns, judgement.code)
    if not np.count_nonzero(leaves):
        return []
    offsets = gfns.each_offset()
    pages = Pages(slot, offsets[leaves], addresses[leaves])
    held.enter_context(in_flight(uv, svm, MOVING, [(slot, pages.offsets)], pages=[pages.addresses]))
    return [Leaving(gfns, leaves, pages, _give_back if event is Event.PAGE_OUT_ABORTED else _seal)]


def take_out(svm: Svm, leaving: list[Leaving], refusals: Refusals) -> Operation[None]:
    """Take pages out, slot by slot."""
    for leave in leaving:
        try:
            yield from leave.take(svm, leave.pages)
        except PeerFailure as failure:
            refusals.detail = str(failure)
            refusals.add_pages(leave.gfns, np.where(leave.wanted, UCode.U_BUSY, 0).astype(np.int16))


def _seal(svm: Svm, pages: Pages) -> Operation[None]:
    slot, offsets = pages.slot, pages.offsets
    records: list[tuple[U64, U8]] = []
    for some in pages.batches():
        transfer, counters, tags = sealing(some, svm.sealer)
        yield transfer
        records.append((counters, tags))
    slot.counter[offsets] = np.concatenate([counters for counters, _ in records])
    slot.tag[offsets] = np.concatenate([tags for _, tags in records])
    slot.put(offsets, S.PAGEDOUT)
    slot.scrub(offsets)


def _give_back(_: Svm, pages: Pages) -> Operation[None]:
    for some in pages.batches():
        yield giving_back(some)
