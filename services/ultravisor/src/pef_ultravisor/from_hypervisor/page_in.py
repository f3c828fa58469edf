"""UV_PAGE_IN: the Hypervisor offers normal pages for guest pages.

What that means depends on the GFN: a paged-out page is decrypted and verified, a shared one gets its normal
page, one that we asked for during UV_ESM is copied as it is. Anything else is refused, a resident secure page
above all.

Source: ultravisor.rst, UV_PAGE_IN; decisions, "UV_PAGE_IN on a resident secure GFN".
"""

from contextlib import ExitStack
from typing import Final

import numpy as np

from pef_kit.core.checks import CheckOrder, Codes
from pef_kit.core.effects import Operation, PeerFailure
from pef_kit.core.runs import I64, U8, Mask, isin
from pef_kit.core.table import Judgement
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.quantities import U_PAGE_IN_SECURE
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageIn
from pef_ultravisor import checks
from pef_ultravisor.checks import Paging
from pef_ultravisor.gfn.columns import (
    BUSY,
    FRAME_POPULATED,
    IMPORTED,
    REFERENCED,
    REQUESTED,
    RESERVED,
    FrameSlot,
    Gfns,
)
from pef_ultravisor.gfn.table import GFN, SHARED_STATES, Action, Event
from pef_ultravisor.in_flight import in_flight
from pef_ultravisor.memory.copy import copy_in, decrypt_in
from pef_ultravisor.state import Svm, Ultravisor

INTENT: Final = {
    0: (Event.PAGE_IN_AT_DONE, Event.PAGE_IN),
    U_PAGE_IN_SECURE: (Event.PAGE_IN_PUSHED, Event.PAGE_IN_BARRED),
}
"""What UV_PAGE_IN means in a design with a bit of intent, by its flags.

While H_SVM_INIT_DONE is outstanding, and at any other time."""


def flag_is_known(call: Paging[PageIn]) -> bool:
    """Pass where no flag is set, or the one of a design with a bit of intent."""
    flags = call.asked.flags
    return flags == 0 or (call.found is not None and call.found.settings.reads_intent and flags in INTENT)


def source_is_normal(call: Paging[PageIn]) -> Mask:
    """Pass runs whose source is whole normal pages that back no other GFN, and are not in flight."""
    normal_pages = call.uv.normal_pages
    passes = normal_pages.whole(call.addresses, call.counts)
    rows = passes.nonzero()[0]
    taken = rows[normal_pages.in_use(call.addresses[rows], call.counts[rows])]
    passes[taken] = False
    for gfns in call.gfn_sets_of(taken):
        now = gfns.slot.normal[gfns.selection]
        offered = gfns.each_address(call.addresses).view(np.uint64)
        passes[gfns.rows] = True
        passes[gfns.each_row()[(now != offered) & normal_pages.each_in_use(offered)]] = False
    return passes


def not_aborted(call: Paging[PageIn]) -> Mask:
    """Pass runs of an SVM that is not aborted; of an aborted one those imported ones that are not shared."""

    def served(gfns: Gfns) -> Mask:
        imported = gfns.slot.marked(gfns.selection, IMPORTED)
        return imported & isin(gfns.slot.state[gfns.selection], S.SECURE, S.PAGEDOUT)

    return checks.not_aborted_or(call, served)


CHECKS: Final = CheckOrder[Paging[PageIn]](
    check_orders.PAGE_IN,
    {**checks.PLACED, "flags": flag_is_known, "ra": source_is_normal, "aborted": not_aborted},
)


def uv_page_in(uv: Ultravisor, caller: Caller, asked: PageIn) -> Operation[Reply]:
    """Answer UV_PAGE_IN."""
    # parameters
    call = Paging(uv, caller, asked)
    refusals = call.new_refusals(check_orders.PAGE_IN)

    # checks
    refused, codes = CHECKS.check_runs(call, call.runs)
    refusals.add_runs(codes)
    if refused or codes.all():
        return refusals.reply(refused)
    svm = call.svm

    # effect
    with ExitStack() as held:
        # Order: nothing is yielded until all runs are judged and marked, by the checks that they passed.
        entering: list[tuple[Action, Gfns, I64]] = []
        for gfns in call.gfn_sets(codes):
            slot, offsets, addresses = gfns.slot, gfns.each_offset(), gfns.each_address(call.addresses)
            event_of = events_of(svm, gfns, asked.flags)
            judged = checks.judged(gfns, GFN.judge_each(event_of, slot.state[gfns.selection]))
            say_if_shared(svm, gfns, judged)
            refuse_without_room(uv, svm, gfns, judged)
            refusals.add_pages(gfns, judged.code, by_table=True)

            mapped = isin(judged.action, Action.MAP)
            if np.count_nonzero(mapped):
                map_pages(uv, slot, offsets[mapped], addresses[mapped])
            enters = isin(judged.action, Action.IMPORT, Action.DECRYPT)
            done = isin(judged.code, UCode.U_SUCCESS) & ~enters
            slot.put(offsets[done], judged.next_state[done])

            for action in (Action.IMPORT, Action.DECRYPT):
                chosen = isin(judged.action, action)
                if not np.count_nonzero(chosen):
                    continue
                pages, sources = gfns.where(chosen), addresses[chosen]
                room = int(np.count_nonzero(not_counted(svm, pages)))
                held.enter_context(in_flight(uv, svm, BUSY, [pages], pages=[sources], room=room))
                entering.append((action, pages, sources))

        for action, pages, sources in entering:
            try:
                if action is Action.IMPORT:
                    yield from import_pages(uv, pages, sources)
                    outcomes = np.zeros(pages.pages, np.int16)
                elif svm.settings.copies_until_secure and svm.state is not UvVmState.SECURE:
                    outcomes = yield from copy_paged_out(uv, pages, sources)
                else:
                    outcomes = yield from decrypt_pages(uv, svm, pages, sources)
            except PeerFailure as failure:
                refusals.detail = str(failure)
                outcomes = np.full(pages.pages, UCode.U_BUSY, np.int16)
            refusals.add_pages(pages, outcomes)

    # reply
    return refusals.reply()


def events_of(svm: Svm, gfns: Gfns, flags: int = 0) -> U8:
    """Return what UV_PAGE_IN means for each GFN at this moment (`Event`, uint8, one per GFN)."""
    slot, chosen, policy = gfns.slot, gfns.selection, svm.settings
    at_done, at_other_times = (
        INTENT[flags] if policy.reads_intent else (policy.page_in_at_done, policy.page_in)
    )
    events = np.full(gfns.pages, at_other_times, np.uint8)
    if svm.done_outstanding:
        frozen = slot.marked(chosen, IMPORTED) & isin(slot.state[chosen], S.SECURE)
        events[~frozen] = at_done
    if policy.exempt:
        events[slot.marked(chosen, policy.exempt)] = Event.PAGE_IN
    events[slot.marked(chosen, REQUESTED)] = Event.PAGE_IN_REQUESTED
    return events


def say_if_shared(svm: Svm, gfns: Gfns, judged: Judgement) -> None:
    """Have GFNs that are refused for being shared answered with the code that the design has for that."""
    own = svm.settings.shared_code
    if own is not UCode.U_P2:
        shared = isin(gfns.slot.state[gfns.selection], *SHARED_STATES)
        judged.code[shared & isin(judged.code, UCode.U_P2)] = own


def not_counted(svm: Svm, gfns: Gfns) -> Mask:
    """Tell which GFNs neither the resident nor the promised pages include yet."""
    counted = isin(gfns.slot.state[gfns.selection], S.SECURE)
    if not svm.whole:
        counted &= gfns.slot.marked(gfns.selection, IMPORTED)
    counted |= gfns.slot.marked(gfns.selection, RESERVED)
    return ~counted


def refuse_without_room(uv: Ultravisor, svm: Svm, gfns: Gfns, judged: Judgement) -> None:
    """Have GFNs that would take room in secure memory answered U_RETRY where there is not enough for all."""
    enters = isin(judged.action, Action.IMPORT, Action.DECRYPT)
    if not np.count_nonzero(enters):
        return
    new = enters & not_counted(svm, gfns)
    if not uv.has_room(int(np.count_nonzero(new))):
        judged.code[new] = UCode.U_RETRY
        judged.action[new] = Action.WAIT


def map_pages(uv: Ultravisor, slot: FrameSlot, offsets: I64, addresses: I64) -> None:
    """Have normal pages (`addresses`: bytes, one per GFN) back the GFNs at `offsets`, and no others."""
    uv.normal_pages.release(slot.normal[offsets])
    uv.normal_pages.take(addresses.astype(np.uint64))
    slot.normal[offsets] = addresses


def import_pages(uv: Ultravisor, gfns: Gfns, addresses: I64) -> Operation[None]:
    """Copy pages as they are; what fails leaves scrubbed frames and GFNs that were never imported."""
    slot, offsets = gfns.slot, gfns.each_offset()
    slot.mark(offsets, FRAME_POPULATED)
    try:
        yield from copy_in(gfns, addresses)
    except BaseException:
        slot.scrub(offsets)
        slot.unmark(offsets, IMPORTED)
        raise
    slot.mark(offsets, IMPORTED | REFERENCED)
    uv.unreserve(slot, offsets)


def copy_paged_out(uv: Ultravisor, gfns: Gfns, addresses: I64) -> Operation[Codes]:
    """Take what comes for paged-out pages as it is (D12); return codes (int16, one per GFN), all success."""
    yield from import_pages(uv, gfns, addresses)
    gfns.slot.put(gfns.selection, S.SECURE)
    gfns.slot.counter[gfns.selection] = 0
    gfns.slot.tag[gfns.selection] = 0
    return np.zeros(gfns.pages, np.int16)


def decrypt_pages(uv: Ultravisor, svm: Svm, gfns: Gfns, addresses: I64) -> Operation[Codes]:
    """Decrypt and verify paged-out pages; return codes (int16, one per GFN): U_P3 where not genuine."""
    slot, offsets = gfns.slot, gfns.each_offset()
    slot.mark(offsets, FRAME_POPULATED)
    try:
        genuine = yield from decrypt_in(gfns, addresses, svm.sealer)
    except BaseException:
        slot.scrub(offsets)
        raise
    slot.scrub(offsets[~genuine])
    slot.put(offsets[genuine], S.SECURE)
    slot.mark(offsets[genuine], REFERENCED)
    uv.unreserve(slot, offsets[genuine])
    slot.counter[offsets[genuine]] = 0
    slot.tag[offsets[genuine]] = 0
    return np.where(genuine, UCode.U_SUCCESS, UCode.U_P3).astype(np.int16)
