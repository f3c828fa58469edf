"""Mutants of the Hypervisor in which a GFN's state and the Ultravisor's part ways.

Source: specification of the Hypervisor, section 7: K4, K5, K10, K13, K16, K17.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from mutants.exchange import cells_of_every_design, everywhere, kept_by, only_in
from pef_hypervisor.from_ultravisor import svm_page_in
from pef_hypervisor.from_vmm import unmap
from pef_hypervisor.gfn.columns import BUSY, HOST_POPULATED, STAND_IN, VmSlot, in_flight, picked
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, to
from pef_hypervisor.outcome import DONE, Outcome
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import Flight, Part, page_in, share
from pef_kit.columns import GfnSet
from pef_kit.operations import Operation
from pef_kit.spans import I64, NOT_FOUND, columns_of
from pef_protocol.calls import Reply
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.states import HvGfnState, HvVmState
from pef_protocol.wire import Caller, Role


@contextmanager
def k4() -> Iterator[None]:
    """Mark GFNs secure, and take their device pages, before H_SVM_PAGE_IN knows that they came."""

    def bring_regardless(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
        flight = yield from page_in(store, vm, parts)
        for leg in flight.legs():
            wrong = ~leg.done
            leg.slot.state[leg.offsets[wrong]] = leg.then[wrong]
            store.pool.take(int(np.count_nonzero(wrong)))
        return flight

    with only_in(svm_page_in, "page_in", bring_regardless):
        yield


def _call_paged_out(store: Store, vm: Vm, slot: VmSlot, offsets: I64) -> None:
    slot.state[offsets] = kept_by(vm.rules.states, HvGfnState.PAGED_OUT)
    slot.mark(offsets, HOST_POPULATED | STAND_IN)
    store.pool.put_back(len(offsets))


@contextmanager
def k5() -> Iterator[None]:
    """Drop a secure page before the Ultravisor has taken the fresh one that shall be shared in its place."""

    def offer_after_dropping(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
        flight = yield from share(store, vm, parts)
        for leg in flight.legs():
            dropped = ~leg.done & (leg.before == HvGfnState.SECURE)
            _call_paged_out(store, vm, leg.slot, leg.offsets[dropped])
        return flight

    with only_in(svm_page_in, "share", offer_after_dropping):
        yield


@contextmanager
def k10() -> Iterator[None]:
    """Serve a fault on a secure page by paging it out and in again, and leave it marked paged out.

    An SVM's faults are never reflected here: what the Hypervisor hears of them is H_SVM_PAGE_IN. It is asked
    so for a secure page when a message comes twice, or under `provoked.reflected_faults`.
    """
    original = svm_page_in.svm_page_in

    def page_in(store: Store, caller: Caller, request: SvmPageIn) -> Operation[Reply]:
        secure = _secure_parts(store, caller, request)
        reply = yield from original(store, caller, request)
        if secure:
            vm = store.vms[request.lpid]
            flight, pages = Flight(vm, secure), [(part.slot, part.offsets) for part in secure]
            with vm.gate.admitted(), in_flight(store.pool, pages):
                for name in ("UV_PAGE_OUT", "UV_PAGE_IN"):
                    yield from flight.send(name, np.ones(len(flight), np.bool_))
                for part in secure:
                    _call_paged_out(store, vm, part.slot, part.offsets)
        return reply

    with everywhere(original, page_in):
        yield


def _secure_parts(store: Store, caller: Caller, request: SvmPageIn) -> list[Part]:
    """Return those GFNs that a hypercall asks to secure and that are secure already, and at rest."""
    vm = store.vms.get(request.lpid)
    if caller.role is not Role.ULTRAVISOR or vm is None or not vm.started or vm.gate.closed or request.flags:
        return []
    gpas, counts = columns_of(request.runs)
    places = vm.slots.locate(gpas, counts)
    parts = []
    for gfns in vm.slots.gfn_sets(gpas, counts, np.flatnonzero(places != NOT_FOUND), places):
        slot, chosen = gfns.slot, gfns.selection
        secure = (slot.state[chosen] == HvGfnState.SECURE) & ~slot.marked(chosen, BUSY)
        offsets = picked(gfns, secure)
        if len(offsets):
            parts.append(Part(slot, offsets, slot.state[offsets]))
    return parts


@contextmanager
def k13() -> Iterator[None]:
    """Unmap pages without UV_PAGE_INVAL between H_SVM_INIT_START and H_SVM_INIT_DONE."""
    original = unmap._invalidate

    def invalidate(store: Store, vm: Vm, gfn_sets: list[GfnSet[VmSlot]]) -> Operation[Outcome]:
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
