"""The way back of a VM that does not become secure: its memory in clear, as it was imported.

What is secure comes by UV_PAGE_OUT; what is paged out goes in first. What the Ultravisor refuses to give is
scrubbed: a secure or encrypted page is never left in a normal VM.

That a page went out does not say that it is paged out: from the moment at which UV_ESM failed the Ultravisor
gives pages in clear and keeps them resident. So it is asked for each.

Source: decisions, "H_SVM_INIT_ABORT", "H_SVM_INIT_ABORT under two states".
"""

from functools import partial
from typing import Final, TypeAlias

import numpy as np

from pef_hypervisor.gfn.columns import HOST_POPULATED, SENT, STAND_IN, Batch, Reservation, VmSlot, is_in
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, wanting
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import Obstacle
from pef_hypervisor.to_ultravisor.paging import Flight, Leg, Part, fly, page_in, scrub_pages, set_accepted
from pef_kit.operations import Operation, Turn
from pef_kit.parts import batches, part_by_part
from pef_kit.spans import I64
from pef_protocol.codes import UCode
from pef_protocol.states import HvGfnState
from pef_protocol.wire import PAGES_AT_ONCE

SCARCE: Final = frozenset({UCode.U_RETRY})
"""Refusals that may be none once other pages have left secure memory."""


PagesBySlot: TypeAlias = list[tuple[VmSlot, I64]]
"""GFNs of several slots, as offsets in pages."""


def restore_cleartext(store: Store, vm: Vm) -> Operation[tuple[int, Obstacle]]:
    """Make every GFN of `vm` normal; return how many imported pages were lost, and what stopped it.

    Where something stopped it, the GFNs that are left are as they were: it can be done again.
    """
    lost, obstacle = yield from _get_secure(store, vm)
    paged_out: PagesBySlot = []
    if not obstacle:
        paged_out, given_up, obstacle = yield from _paged_out(store, vm)
        lost += given_up
    while not obstacle and paged_out:
        slot, offsets = paged_out[0]
        some = offsets[: min(store.pool.free, PAGES_AT_ONCE)]
        if not len(some):
            return lost, Obstacle("there are not enough device pages")
        then = vm.rules.table.judge(GfnEvent.PAGE_IN, slot.state[some]).then
        flight = yield from page_in(store, vm, [Part(slot, some, then)])
        obstacle = flight.obstacle
        if not obstacle:
            given_up = (flight.codes != 0) & (
                ~np.isin(flight.codes, list(SCARCE)) | (flight.codes != 0).all()
            )
            lost += yield from _give_up(store, vm, slot, some[given_up])
        more, why = yield from _get_secure(store, vm)
        lost, obstacle = lost + more, obstacle or why
        paged_out = _bearing(STAND_IN, paged_out)
    if not obstacle:
        lost += yield from _scrub_unknown(store, vm)
        yield from part_by_part(vm.slots, partial(_advance, vm))
    return lost, obstacle


def _advance(vm: Vm, slot: VmSlot, part: slice) -> None:
    """Give the GFNs of a part of a slot the state that H_SVM_INIT_ABORT leads to."""
    for block in slot.blocks_of(part):
        vm.rules.table.advance(GfnEvent.INIT_ABORT, slot.state[block])


def _bearing(bit: int, pages: PagesBySlot) -> PagesBySlot:
    """Return those of `pages` that bear a mark: a page that is paged out has replaced one, by definition."""
    marked = ((slot, offsets[slot.marked(offsets, bit)]) for slot, offsets in pages)
    return [(slot, offsets) for slot, offsets in marked if len(offsets)]


def _paged_out(store: Store, vm: Vm) -> Operation[tuple[PagesBySlot, int, Obstacle]]:
    """Return what is paged out, how many imported pages were lost on the way, and what stopped it.

    The Ultravisor is asked for each page that replaced a secure one: it says that it is paged out already, or
    that it is shared, which is success, with nothing done; a secure one comes back in clear.
    """
    lost = 0
    paged_out: PagesBySlot = []
    for place, batch in enumerate(batches(vm.slots)):
        if place:
            yield Turn()
        found, given_up, obstacle = yield from _paged_out_of(store, vm, batch)
        paged_out, lost = paged_out + found, lost + given_up
        if obstacle:
            return paged_out, lost, obstacle
    return _bearing(STAND_IN, paged_out), lost, Obstacle()


def _paged_out_of(store: Store, vm: Vm, batch: Batch) -> Operation[tuple[PagesBySlot, int, Obstacle]]:
    lost = 0
    paged_out: PagesBySlot = []
    parts: list[Part] = []
    for slot, ascending in _bearing(STAND_IN, _chosen(vm, batch, GfnAction.RESTORE_STAND_IN)):
        # Order: descending, so that each page is a run of its own: one of shared and other pages is refused.
        offsets = ascending[::-1]
        then = vm.rules.table.judge(GfnEvent.INIT_ABORT, slot.state[offsets]).then
        parts.append(Part(slot, offsets, then))

    def landed(leg: Leg, _: Reservation) -> Operation[None]:
        leg.slot.unmark(leg.offsets[set_accepted(leg)], STAND_IN)
        yield from ()

    flight = yield from fly(store.pool, Flight(vm, parts), "UV_PAGE_OUT", landed)
    if flight.obstacle:
        return paged_out, lost, flight.obstacle
    for leg in flight.legs():
        out = leg.codes == UCode.U_PARAMETER
        lost += yield from _give_up(store, vm, leg.slot, leg.offsets[~leg.done & ~out])
        paged_out.append((leg.slot, leg.offsets[out][::-1]))
    return paged_out, lost, Obstacle()


def _chosen(vm: Vm, batch: Batch, deed: GfnAction) -> PagesBySlot:
    """Return, by slot, the GFNs (offsets in pages) of a batch for which H_SVM_INIT_ABORT wants `deed`."""
    chosen: PagesBySlot = []
    wanted = wanting(vm.rules.table, GfnEvent.INIT_ABORT, deed)
    for slot, part in batch:
        offsets = np.flatnonzero(is_in(slot.state[part], wanted)) + part.start
        if len(offsets):
            chosen.append((slot, offsets))
    return chosen


def _get_secure(store: Store, vm: Vm) -> Operation[tuple[int, Obstacle]]:
    """Get all secure pages back, in clear; those that were never imported are simply normal again."""
    lost = 0
    for place, batch in enumerate(batches(vm.slots)):
        if place:
            yield Turn()
        given_up, obstacle = yield from _get_secure_of(store, vm, batch)
        lost += given_up
        if obstacle:
            return lost, obstacle
    return lost, Obstacle()


def _get_secure_of(store: Store, vm: Vm, batch: Batch) -> Operation[tuple[int, Obstacle]]:
    parts: list[Part] = []
    for slot, offsets in _chosen(vm, batch, GfnAction.RESTORE_CLEARTEXT):
        then = vm.rules.table.judge(GfnEvent.INIT_ABORT, slot.state[offsets]).then
        imported = slot.marked(offsets, SENT)
        slot.state[offsets[~imported]] = then[~imported]
        store.pool.put_back(int(np.count_nonzero(~imported)))
        parts.append(Part(slot, offsets[imported], then[imported]))

    def landed(leg: Leg, _: Reservation) -> Operation[None]:
        done = leg.offsets[set_accepted(leg)]
        leg.slot.mark(done, HOST_POPULATED)
        leg.slot.unmark(done, STAND_IN)
        store.pool.put_back(len(done))
        yield from ()

    flight = yield from fly(store.pool, Flight(vm, parts), "UV_PAGE_OUT", landed, leaving=True)
    lost = 0
    if not flight.obstacle:
        for leg in flight.legs():
            lost += yield from _give_up(store, vm, leg.slot, leg.offsets[~leg.done])
    return lost, flight.obstacle


def _give_up(store: Store, vm: Vm, slot: VmSlot, offsets: I64) -> Operation[int]:
    """Make GFNs that were not given normal ones that read as zero; return how many had been imported."""
    imported = int(np.count_nonzero(slot.marked(offsets, SENT)))
    store.pool.put_back(int(np.count_nonzero(slot.state[offsets] == HvGfnState.SECURE)))
    slot.state[offsets] = vm.rules.table.judge(GfnEvent.FORGET, slot.state[offsets]).then
    yield from scrub_pages(store, vm, slot, offsets)
    return imported


def _scrub_unknown(store: Store, vm: Vm) -> Operation[int]:
    """Scrub what replaced a secure page and may be encrypted: all but what is known to be shared.

    A design of two states knows of none.
    """
    found: PagesBySlot = []

    def look(slot: VmSlot, part: slice) -> None:
        for replaced in slot.where(STAND_IN, part):
            unknown = replaced[slot.state[replaced] != HvGfnState.SHARED]
            if len(unknown):
                found.append((slot, unknown))

    yield from part_by_part(vm.slots, look)
    lost = 0
    for place, (slot, unknown) in enumerate(found):
        if place:
            yield Turn()
        lost += yield from _give_up(store, vm, slot, unknown)
    return lost
