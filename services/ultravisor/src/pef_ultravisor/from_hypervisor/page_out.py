"""UV_PAGE_OUT: the Hypervisor takes guest pages out of secure memory, encrypted.

A shared page is in normal memory already: success, nothing done. After a failed UV_ESM the pages that the
Hypervisor itself had given go back in clear, for that VM never ran secure.

Source: ultravisor.rst, UV_PAGE_OUT; decisions, "UV_PAGE_OUT of a shared GFN", "H_SVM_INIT_ABORT".
"""

from contextlib import ExitStack
from typing import Final

import numpy as np

from pef_kit.core.checks import CheckOrder
from pef_kit.core.effects import Operation, PeerFailure
from pef_kit.core.runs import I64, Mask, isin
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageOut
from pef_ultravisor import checks
from pef_ultravisor.checks import Paging
from pef_ultravisor.gfn.columns import BUSY, HCALL_PENDING, IMPORTED, Gfns
from pef_ultravisor.gfn.table import GFN, Action, Event
from pef_ultravisor.in_flight import in_flight
from pef_ultravisor.memory.copy import copy_out, encrypt_out
from pef_ultravisor.state import Svm, Ultravisor


def target_is_free(call: Paging[PageOut]) -> Mask:
    """Pass runs whose target is whole normal pages that back no GFN of any SVM, and are not in flight."""
    normal_pages = call.uv.normal_pages
    passes = normal_pages.whole(call.addresses, call.counts)
    rows = passes.nonzero()[0]
    taken = rows[normal_pages.in_use(call.addresses[rows], call.counts[rows])]
    passes[taken] = False
    for gfns in call.gfn_sets_of(taken):
        # A page that backs the very GFN it is offered for is shared: nothing is to do.
        elsewhere = gfns.slot.normal[gfns.selection] != gfns.each_address(call.addresses).view(np.uint64)
        passes[gfns.rows] = True
        passes[gfns.each_row()[elsewhere]] = False
    return passes


def not_aborted(call: Paging[PageOut]) -> Mask:
    """Pass runs of an SVM that is not aborted; of an aborted one imported GFNs, and those that are out."""

    def served(gfns: Gfns) -> Mask:
        out = isin(gfns.slot.state[gfns.selection], S.PAGEDOUT)
        return out | gfns.slot.marked(gfns.selection, IMPORTED)

    return checks.not_aborted_or(call, served)


CHECKS: Final = CheckOrder[Paging[PageOut]](
    check_orders.PAGE_OUT, {**checks.PLACED, "ra": target_is_free, "aborted": not_aborted}
)


def uv_page_out(uv: Ultravisor, caller: Caller, asked: PageOut) -> Operation[Reply]:
    """Answer UV_PAGE_OUT."""
    # parameters
    call = Paging(uv, caller, asked)
    refusals = call.new_refusals(check_orders.PAGE_OUT)

    # checks
    refused, codes = CHECKS.check_runs(call, call.runs)
    refusals.add_runs(codes)
    if refused or codes.all():
        return refusals.reply(refused)
    svm = call.svm

    # effect
    with ExitStack() as held:
        # Trust: pages leave in clear only by the check of this moment, that the SVM never ran secure. It may
        # be aborted later, for another reason. So nothing is yielded until all runs are judged and marked.
        in_clear = svm.state is UvVmState.ABORT
        leaving: list[tuple[Gfns, I64]] = []
        for gfns in call.gfn_sets(codes):
            slot, chosen = gfns.slot, gfns.selection
            event = Event.PAGE_OUT_ABORTED if in_clear else Event.PAGE_OUT
            judged = checks.judged(gfns, GFN.judge(event, slot.state[chosen]))
            leaves = isin(judged.action, Action.ENCRYPT, Action.RESTORE_CLEARTEXT)
            pending = leaves & slot.marked(chosen, HCALL_PENDING)
            judged.code[pending] = UCode.U_BUSY
            leaves &= ~pending
            refusals.add_pages(gfns, judged.code, by_table=True)
            if np.count_nonzero(leaves):
                pages, targets = gfns.where(leaves), gfns.each_address(call.addresses)[leaves]
                held.enter_context(in_flight(uv, svm, BUSY, [pages], pages=[targets]))
                leaving.append((pages, targets))

        for pages, targets in leaving:
            try:
                if in_clear:
                    yield from copy_out(pages, targets)
                else:
                    yield from page_out_encrypted(svm, pages, targets)
            except PeerFailure as failure:
                refusals.detail = str(failure)
                refusals.add_pages(pages, np.full(pages.pages, UCode.U_BUSY, np.int16))

    # reply
    return refusals.reply()


def page_out_encrypted(svm: Svm, gfns: Gfns, addresses: I64) -> Operation[None]:
    """Encrypt pages into normal ones, keep the record by which they are verified, and scrub the frames."""
    slot, offsets = gfns.slot, gfns.each_offset()
    counters, tags = yield from encrypt_out(gfns, addresses, svm.sealer)
    slot.counter[offsets] = counters
    slot.tag[offsets] = tags
    slot.put(offsets, S.PAGEDOUT)
    slot.scrub(offsets)
