"""The abort path: a VM that does not become secure gets its memory back in clear, as it was imported.

What is secure comes by UV_PAGE_OUT; what is paged out goes in first. What the Ultravisor refuses to give is
scrubbed: a secure or encrypted page is never left in a normal VM.

That a page went out does not say that it is paged out: from the moment at which UV_ESM failed the Ultravisor
gives pages in clear and keeps them resident. So it is asked for each.

Source: decisions, "H_SVM_INIT_ABORT", "H_SVM_INIT_ABORT under two states".
"""

from functools import partial
from typing import Final

import numpy as np

from pef_hypervisor.gfn.columns import (
    HOST_POPULATED,
    SENT,
    STAND_IN,
    Batch,
    GfnSets,
    Reservation,
    VmSlot,
    gfn_set_at,
    is_in,
    mark,
    marked,
    only,
    set_states,
    states_of,
    unmark,
)
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, wanting
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import Obstacle
from pef_hypervisor.to_ultravisor.paging import PageBatch, page_in, scrub_pages, send_batch
from pef_kit.core.effects import Operation, Turn
from pef_kit.core.parts import batches, part_by_part, set_by_set
from pef_kit.core.runs import Mask, isin
from pef_protocol.codes import UCode
from pef_protocol.http import PAGES_AT_ONCE
from pef_protocol.states import HvGfnState

SCARCE: Final = UCode.U_RETRY
"""A refusal that may be none once other pages have left secure memory."""


def restore_cleartext(store: Store, vm: Vm) -> Operation[tuple[int, Obstacle]]:
    """Make every GFN of `vm` normal; return how many imported pages were lost, and what stopped it.

    Where something stopped it, the GFNs that are left are as they were: it can be done again.
    """
    lost, obstacle = yield from _fetch_secure(store, vm)
    paged_out: GfnSets = []
    if not obstacle:
        paged_out, given_up, obstacle = yield from _find_paged_out(store, vm)
        lost += given_up
    while not obstacle and paged_out:
        slot, offsets = paged_out[0].slot, paged_out[0].each_offset()
        some = [gfn_set_at(slot, offsets[: min(store.pool.free, PAGES_AT_ONCE)])]
        if not some[0].pages:
            return lost, Obstacle("there are not enough device pages")
        next_states = vm.design.table.judge(GfnEvent.PAGE_IN, states_of(some)).next_state
        batch = yield from page_in(store, vm, some, next_states)
        obstacle = batch.obstacle
        if not obstacle:
            refused = ~batch.accepted
            hopeless = refused & (~isin(batch.codes, SCARCE) | refused.all())
            lost += yield from _give_up(store, vm, only(some, hopeless))
        more, why = yield from _fetch_secure(store, vm)
        lost, obstacle = lost + more, obstacle or why
        paged_out = only(paged_out, marked(paged_out, STAND_IN))
    if not obstacle:
        lost += yield from _scrub_unknown(store, vm)
        yield from part_by_part(vm.slots, partial(_advance, vm))
    return lost, obstacle


def _advance(vm: Vm, slot: VmSlot, part: slice) -> None:
    """Give the GFNs of a part of a slot the state that H_SVM_INIT_ABORT leads to."""
    for block in slot.blocks_of(part):
        vm.design.table.advance(GfnEvent.INIT_ABORT, slot.state[block])


def _wanting(vm: Vm, batch: Batch, action: GfnAction) -> GfnSets:
    """Return the GFNs of a batch for which H_SVM_INIT_ABORT wants `action`."""
    wanted = wanting(vm.design.table, GfnEvent.INIT_ABORT, action)
    chosen = [
        gfn_set_at(slot, np.flatnonzero(is_in(slot.state[part], wanted)) + part.start) for slot, part in batch
    ]
    return [gfns for gfns in chosen if gfns.pages]


def _find_paged_out(store: Store, vm: Vm) -> Operation[tuple[GfnSets, int, Obstacle]]:
    """Return what is paged out, how many imported pages were lost on the way, and what stopped it.

    The Ultravisor is asked for each page that stands in for a secure one: it says that it is paged out
    already, or that it is shared, which is success, with nothing done; a secure one comes back in clear.
    """
    lost = 0
    paged_out: GfnSets = []
    for place, batch in enumerate(batches(vm.slots)):
        if place:
            yield Turn()
        found, given_up, obstacle = yield from _find_paged_out_of(store, vm, batch)
        paged_out, lost = paged_out + found, lost + given_up
        if obstacle:
            return paged_out, lost, obstacle
    return only(paged_out, marked(paged_out, STAND_IN)), lost, Obstacle()


def _find_paged_out_of(store: Store, vm: Vm, parts: Batch) -> Operation[tuple[GfnSets, int, Obstacle]]:
    chosen = _wanting(vm, parts, GfnAction.RESTORE_STAND_IN)
    # Order: descending, so that each page is a run of its own: one of shared and other pages is refused.
    gfn_sets = _reversed(only(chosen, marked(chosen, STAND_IN)))
    next_states = vm.design.table.judge(GfnEvent.INIT_ABORT, states_of(gfn_sets)).next_state
    batch = PageBatch(vm, gfn_sets)

    def commit(sent: Mask, _: Reservation) -> Operation[None]:
        done = sent & batch.accepted
        accepted = only(gfn_sets, done)
        set_states(accepted, next_states[done])
        unmark(accepted, STAND_IN)
        yield from ()

    yield from send_batch(store.pool, batch, "UV_PAGE_OUT", commit)
    if batch.obstacle:
        return [], 0, batch.obstacle
    out = isin(batch.codes, UCode.U_PARAMETER)
    lost = yield from _give_up(store, vm, only(gfn_sets, ~batch.accepted & ~out))
    return _reversed(only(gfn_sets, out)), lost, Obstacle()


def _reversed(gfn_sets: GfnSets) -> GfnSets:
    """Return sets with the GFNs of each in the opposite order."""
    return [gfn_set_at(gfns.slot, gfns.each_offset()[::-1]) for gfns in gfn_sets]


def _fetch_secure(store: Store, vm: Vm) -> Operation[tuple[int, Obstacle]]:
    """Get all secure pages back, in clear; those that were never imported are simply normal again."""
    lost = 0
    for place, batch in enumerate(batches(vm.slots)):
        if place:
            yield Turn()
        given_up, obstacle = yield from _fetch_secure_of(store, vm, batch)
        lost += given_up
        if obstacle:
            return lost, obstacle
    return lost, Obstacle()


def _fetch_secure_of(store: Store, vm: Vm, parts: Batch) -> Operation[tuple[int, Obstacle]]:
    secure = _wanting(vm, parts, GfnAction.RESTORE_CLEARTEXT)
    judged = vm.design.table.judge(GfnEvent.INIT_ABORT, states_of(secure))
    imported = marked(secure, SENT)
    set_states(only(secure, ~imported), judged.next_state[~imported])
    store.pool.release(int(np.count_nonzero(~imported)))
    gfn_sets, next_states = only(secure, imported), judged.next_state[imported]
    batch = PageBatch(vm, gfn_sets)

    def commit(sent: Mask, _: Reservation) -> Operation[None]:
        done = sent & batch.accepted
        accepted = only(gfn_sets, done)
        set_states(accepted, next_states[done])
        mark(accepted, HOST_POPULATED)
        unmark(accepted, STAND_IN)
        store.pool.release(int(np.count_nonzero(done)))
        yield from ()

    yield from send_batch(store.pool, batch, "UV_PAGE_OUT", commit, leaving=True)
    if batch.obstacle:
        return 0, batch.obstacle
    lost = yield from _give_up(store, vm, only(gfn_sets, ~batch.accepted))
    return lost, Obstacle()


def _give_up(store: Store, vm: Vm, gfn_sets: GfnSets) -> Operation[int]:
    """Make GFNs that were not given normal ones that read as zero; return how many had been imported."""
    imported = int(np.count_nonzero(marked(gfn_sets, SENT)))
    for gfns in gfn_sets:
        states = states_of([gfns])
        store.pool.release(int(np.count_nonzero(states == HvGfnState.SECURE)))
        set_states([gfns], vm.design.table.judge(GfnEvent.FORGET, states).next_state)
        yield from scrub_pages(store, vm, [gfns])
    return imported


def _scrub_unknown(store: Store, vm: Vm) -> Operation[int]:
    """Scrub what stands in for a secure page and may be encrypted: all but what is known to be shared.

    A design of two states knows of none.
    """
    found: GfnSets = []

    def find(slot: VmSlot, part: slice) -> None:
        for offsets in slot.where(STAND_IN, part):
            unknown = offsets[slot.state[offsets] != HvGfnState.SHARED]
            if len(unknown):
                found.append(gfn_set_at(slot, unknown))

    yield from part_by_part(vm.slots, find)
    lost = yield from set_by_set(found, lambda gfns: _give_up(store, vm, [gfns]))
    return sum(lost)
