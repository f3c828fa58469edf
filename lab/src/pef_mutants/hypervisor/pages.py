"""Mutants of the Hypervisor in which the state of a GFN does not fit the Ultravisor's.

Source: specification of the Hypervisor, section 7: K4, K5, K10, K13, K16, K17.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from pef_hypervisor.from_ultravisor import svm_page_in
from pef_hypervisor.from_vmm import unmap
from pef_hypervisor.gfn.columns import (
    BUSY,
    HOST_POPULATED,
    STAND_IN,
    GfnSets,
    in_flight,
    mark,
    marked,
    only,
    set_states,
    states_of,
)
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, to
from pef_hypervisor.outcome import DONE, Outcome
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import PageBatch, PagingCall, page_in
from pef_kit.core.effects import Operation
from pef_kit.core.runs import NOT_FOUND, U8, columns_of, isin
from pef_mutants.exchange import cells_of_every_design, everywhere, kept_by, only_in
from pef_protocol.calls import Reply
from pef_protocol.http import Caller, Role
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.states import HvGfnState, HvVmState

OUT_AND_IN: Final[tuple[PagingCall, ...]] = ("UV_PAGE_OUT", "UV_PAGE_IN")


@contextmanager
def k4() -> Iterator[None]:
    """Mark GFNs secure, and take their device pages, before H_SVM_PAGE_IN knows that they came."""

    def page_in_regardless(store: Store, vm: Vm, gfn_sets: GfnSets, next_states: U8) -> Operation[PageBatch]:
        batch = yield from page_in(store, vm, gfn_sets, next_states)
        wrong = ~batch.accepted
        set_states(only(gfn_sets, wrong), next_states[wrong])
        store.pool.take(int(np.count_nonzero(wrong)))
        return batch

    with only_in(svm_page_in, "page_in", page_in_regardless):
        yield


def _call_paged_out(store: Store, vm: Vm, gfn_sets: GfnSets) -> None:
    paged_out = np.full(len(states_of(gfn_sets)), kept_by(vm.design.states, HvGfnState.PAGED_OUT), np.uint8)
    set_states(gfn_sets, paged_out)
    mark(gfn_sets, HOST_POPULATED | STAND_IN)
    store.pool.release(len(paged_out))


@contextmanager
def k5() -> Iterator[None]:
    """Drop a secure page before the Ultravisor has taken the fresh one that shall be shared in its place."""
    original = svm_page_in.share

    def share_after_dropping(
        store: Store, vm: Vm, gfn_sets: GfnSets, next_states: U8
    ) -> Operation[PageBatch]:
        secure = isin(states_of(gfn_sets), HvGfnState.SECURE)
        batch = yield from original(store, vm, gfn_sets, next_states)
        _call_paged_out(store, vm, only(gfn_sets, ~batch.accepted & secure))
        return batch

    with only_in(svm_page_in, "share", share_after_dropping):
        yield


@contextmanager
def k10() -> Iterator[None]:
    """Serve a fault on a secure page by paging it out and in again, and leave it marked paged out.

    An SVM's faults are never reflected here: what the Hypervisor hears of them is H_SVM_PAGE_IN. It is asked
    so for a secure page when a message comes twice, or under `triggered.reflected_faults`.
    """
    original = svm_page_in.svm_page_in

    def page_in(store: Store, caller: Caller, request: SvmPageIn) -> Operation[Reply]:
        secure = _secure_gfns(store, caller, request)
        reply = yield from original(store, caller, request)
        if secure:
            vm = store.vms[request.lpid]
            batch = PageBatch(vm, secure)
            with vm.gate.admitted(), in_flight(store.pool, secure):
                for name in OUT_AND_IN:
                    yield from batch.send(name, np.ones(len(batch), np.bool_))
                _call_paged_out(store, vm, secure)
        return reply

    with everywhere(original, page_in):
        yield


def _secure_gfns(store: Store, caller: Caller, request: SvmPageIn) -> GfnSets:
    """Return those GFNs that a hypercall asks to secure and that are secure already, and at rest."""
    vm = store.vms.get(request.lpid)
    if caller.role is not Role.ULTRAVISOR or vm is None or not vm.started or vm.gate.closed or request.flags:
        return []
    gpas, counts = columns_of(request.runs)
    places = vm.slots.locate(gpas, counts)
    gfn_sets = vm.slots.gfn_sets(gpas, counts, np.flatnonzero(places != NOT_FOUND), places)
    return only(gfn_sets, isin(states_of(gfn_sets), HvGfnState.SECURE) & ~marked(gfn_sets, BUSY))


@contextmanager
def k13() -> Iterator[None]:
    """Unmap pages without UV_PAGE_INVAL between H_SVM_INIT_START and H_SVM_INIT_DONE."""
    original = unmap._invalidate

    def invalidate(store: Store, vm: Vm, gfn_sets: GfnSets) -> Operation[Outcome]:
        if vm.state is HvVmState.TRANSIENT:
            return DONE
        return (yield from original(store, vm, gfn_sets))

    with everywhere(original, invalidate):
        yield


@contextmanager
def k16() -> Iterator[None]:
    """Send a paged-out page in and leave it marked paged out; its device page is lost.

    A design of two states has no such mark, and this defect can't be seen in it.
    """
    paged_out = to(HvGfnState.PAGED_OUT, GfnAction.PAGE_IN)
    with cells_of_every_design({GfnEvent.PAGE_IN: {HvGfnState.PAGED_OUT: paged_out}}):
        yield


@contextmanager
def k17() -> Iterator[None]:
    """Unmap a page that another call has chosen to offer, and offer it none the less."""
    with only_in(unmap, "BUSY", 0):
        yield
