"""H_SVM_PAGE_IN: bring these guest pages by UV_PAGE_IN, to be secure, or shared with H_PAGE_IN_SHARED.

Source: Documentation/powerpc/ultravisor.rst, H_SVM_PAGE_IN; specification of the Hypervisor, sections 4, 5.
"""

from typing import Final

import numpy as np

from pef_hypervisor import checks
from pef_hypervisor.checks import PagingHypercall, why_busy
from pef_hypervisor.gfn.columns import (
    BUSY,
    HOST_POPULATED,
    SENT,
    STAND_IN,
    Codes,
    DevicePool,
    GfnSets,
    Reservation,
    mark,
    marked,
    only,
    set_states,
    states_of,
)
from pef_hypervisor.gfn.table import FAULT_TABLE, FaultEvent, GfnAction, GfnEvent
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import PageBatch, page_in, scrub_pages, send_batch
from pef_kit.core.checks import CheckOrder, refuse
from pef_kit.core.effects import Operation
from pef_kit.core.runs import U8, Mask, isin
from pef_kit.core.table import Judgement
from pef_protocol import check_orders
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.http import Caller
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.quantities import H_PAGE_IN_FAULT, H_PAGE_IN_SHARED
from pef_protocol.states import HvGfnState


def flag_is_known(call: PagingHypercall) -> bool:
    """Check `flags`: a reflected fault is known where the design has it."""
    flags = call.request.flags
    return flags in {0, H_PAGE_IN_SHARED} or (flags == H_PAGE_IN_FAULT and call.vm.design.serves_faults)


CHECKS: Final = CheckOrder[PagingHypercall](
    check_orders.SVM_PAGE_IN,
    {
        "caller": checks.from_ultravisor,
        "started": checks.started,
        "order": checks.page_order,
        "flags": flag_is_known,
        "gpa": checks.in_one_slot,
    },
)


def svm_page_in(store: Store, caller: Caller, request: SvmPageIn) -> Operation[Reply]:
    """Offer the normal pages of the GFNs; one nested UV_PAGE_IN carries all that need it.

    A GFN that the Ultravisor holds already, for which there is no device page, or whose page the Ultravisor
    does not take is H_PARAMETER and stays as it is; one that another call has in flight is H_BUSY.
    """
    # parameters
    call = PagingHypercall(store, caller, request, check_orders.SVM_PAGE_IN)

    # checks
    failed, run_codes = CHECKS.check_runs(call, len(call.gpas))
    if failed is not None:
        return refuse(failed)
    vm, gfn_sets = call.vm, call.gfn_sets(run_codes)
    if why := why_busy(vm):
        return Reply(HCode.H_BUSY, detail=why)

    # effect
    with vm.gate.admitted() as turn:
        paging = _page_in(store, vm, request.flags, gfn_sets)
        codes, by_table, detail = yield from store.leased(vm, turn, paging)

    # reply
    return call.reply(run_codes, gfn_sets, codes, detail, by_table)


def judge(vm: Vm, flags: int, states: U8) -> Judgement:
    """Return what H_SVM_PAGE_IN with `flags` means for GFNs in `states` (uint8, one per GFN)."""
    if flags == H_PAGE_IN_FAULT:
        return FAULT_TABLE.judge(FaultEvent.GUEST_FAULT, states)
    return vm.design.table.judge(GfnEvent.SHARE if flags == H_PAGE_IN_SHARED else GfnEvent.PAGE_IN, states)


def _page_in(store: Store, vm: Vm, flags: int, gfn_sets: GfnSets) -> Operation[tuple[Codes, Mask, str]]:
    """Secure or share the GFNs; return the code of each, which of them the table refused, and a sentence."""
    states = states_of(gfn_sets)
    judged = judge(vm, flags, states)
    codes, by_table = judged.code, judged.code != 0
    codes[marked(gfn_sets, BUSY)] = HCode.H_BUSY
    wanting = (codes == 0) & isin(judged.action, GfnAction.PAGE_IN)
    refuse_without_device_page(store.pool, gfn_sets, wanting, codes)

    accepted = (codes == 0) & (judged.action != GfnAction.NOTHING)
    zero = accepted & isin(judged.action, GfnAction.PAGE_IN) & untouched(gfn_sets, states)
    set_states(only(gfn_sets, zero), judged.next_state[zero])
    store.pool.take(int(np.count_nonzero(zero)))

    sent = accepted & ~zero
    move = share if flags else page_in
    batch = yield from move(store, vm, only(gfn_sets, sent), judged.next_state[sent])
    codes[sent] = batch.hypercall_codes
    return codes, by_table, batch.detail


def refuse_without_device_page(pool: DevicePool, gfn_sets: GfnSets, wanting: Mask, codes: Codes) -> None:
    """Write a refusal into `codes` for each `wanting` GFN for which there is no device page.

    The first GFNs of the message come first. The code is H_PARAMETER, or H_BUSY where device pages are on
    their way back or may be.
    """
    if int(np.count_nonzero(wanting)) <= pool.free:
        return
    places = wanting.nonzero()[0]
    rows = np.concatenate([gfns.each_row() for gfns in gfn_sets])[places]
    late = np.argsort(rows, kind="stable")[pool.free :]
    codes[places[late]] = HCode.H_BUSY if pool.leaving or pool.reserved else HCode.H_PARAMETER


def untouched(gfn_sets: GfnSets, states: U8) -> Mask:
    """Mark the normal GFNs that nobody ever wrote: the Ultravisor's frame is zero already, as the page is."""
    return isin(states, HvGfnState.NORMAL) & ~marked(gfn_sets, HOST_POPULATED | SENT)


def share(store: Store, vm: Vm, gfn_sets: GfnSets, next_states: U8) -> Operation[PageBatch]:
    """Offer normal pages by UV_PAGE_IN, to be shared; in place of a secure page a fresh one.

    `next_states`: uint8, one per GFN. The device page of a secure one is put back; where the Ultravisor
    refuses, the fresh page goes and the secure one stays.
    """
    batch = PageBatch(vm, gfn_sets)
    fresh = isin(states_of(gfn_sets), HvGfnState.SECURE)

    def commit(sent: Mask, _: Reservation) -> Operation[None]:
        done = sent & batch.accepted
        accepted = only(gfn_sets, done)
        set_states(accepted, next_states[done])
        mark(accepted, HOST_POPULATED)
        mark(only(gfn_sets, done & fresh), STAND_IN)
        store.pool.release(int(np.count_nonzero(done & fresh)))
        yield from scrub_pages(store, vm, only(gfn_sets, sent & batch.refused & fresh))

    yield from send_batch(store.pool, batch, "UV_PAGE_IN", commit)
    return batch
