"""Unmigrated pages, which the Ultravisor did not ask for: what a design does with them, for whole slots.

Both H_SVM_INIT_DONE and a slot that was just plugged in come here; the design's table says what to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import numpy as np

from pef_hypervisor.gfn.columns import (
    BUSY,
    HOST_POPULATED,
    SENT,
    Batch,
    GfnSets,
    VmSlot,
    gfn_set_at,
    in_flight,
    is_in,
    only,
    states_of,
)
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, wanting
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import Obstacle
from pef_hypervisor.to_ultravisor.paging import PageBatch, page_in, scrub_pages
from pef_kit.core.effects import Backoff, Operation, Turn
from pef_kit.core.parts import batches, part_by_part
from pef_protocol.codes import UCode
from pef_protocol.states import HvGfnState

TOO_FEW: Final = Obstacle("there are not enough device pages")


@dataclass(slots=True)
class MigrationPass:
    """What a pass over slots found; of the batch under way, what could not be done at once.

    `kept`: what was sent before and the design leaves as it is; it is not sent again.
    """

    kept: GfnSets
    short: bool = False
    """Device pages ran out."""
    refused: bool = False
    """The design leaves something as it is that was sent in this pass: its device page may serve others."""
    to_scrub: GfnSets = field(default_factory=list)
    to_send: GfnSets = field(default_factory=list)
    needed: int = 0
    """Device pages that what is to be sent will take."""


def migrate_remaining(store: Store, vm: Vm, slots: Iterable[VmSlot], event: GfnEvent) -> Operation[Obstacle]:
    """Turn the unmigrated GFNs of `slots` into secure ones as the design says; return what went wrong.

    Where it is sure that there are too few device pages nothing is done. What was done stays done, and what
    is left can be done later. Where device pages are short, those of GFNs that the design leaves as they are
    serve others, pass by pass.
    """
    chosen = tuple(slots)
    if not wanting(vm.design.table, event, GfnAction.MARK, GfnAction.PAGE_IN):
        return Obstacle()
    obstacle = yield from _wait_until_idle(vm, next(batches(chosen), []), event)
    if not obstacle and (yield from _count_needed(vm, chosen, event)) > store.pool.free:
        return TOO_FEW
    done = MigrationPass([], short=True)
    while done.short and not obstacle:
        done.short, done.refused = False, False
        for place, batch in enumerate(batches(chosen)):
            if place:
                yield Turn()
            obstacle = yield from _migrate_batch(store, vm, batch, event, done)
            if obstacle:
                break
        if not obstacle and done.short and not done.refused:
            return TOO_FEW
    return obstacle


def _migrate_batch(
    store: Store, vm: Vm, parts: Batch, event: GfnEvent, done: MigrationPass
) -> Operation[Obstacle]:
    """Secure the unmigrated GFNs of a batch, as far as device pages reach; return what went wrong."""
    obstacle = yield from _wait_until_idle(vm, parts, event)
    if obstacle:
        return obstacle
    for slot, part in parts:
        _migrate_part(store, vm, slot, part, event, done)
    if not (done.to_send or done.to_scrub):
        return Obstacle()
    batch = yield from _scrub_and_send(store, vm, event, done)
    if batch.obstacle:
        return batch.obstacle
    refused = set(batch.codes[~batch.accepted].tolist())
    if odd := refused - {int(code) for code in vm.design.leaves}:
        return Obstacle("UV_PAGE_IN: " + ", ".join(sorted(UCode(code).name for code in odd)))
    done.refused = done.refused or bool(refused)
    done.kept += only(batch.gfn_sets, ~batch.accepted)
    return Obstacle()


def _wait_until_idle(vm: Vm, batch: Batch, event: GfnEvent) -> Operation[Obstacle]:
    """Wait until no unmigrated GFN of a batch is in flight for another call; return that time was over."""
    unmigrated = wanting(vm.design.table, event, GfnAction.MARK, GfnAction.PAGE_IN)
    for attempt in count():
        if not any(_in_flight(slot, part, unmigrated) for slot, part in batch):
            break
        again: bool = yield Backoff(attempt)
        if not again:
            return Obstacle("unmigrated GFNs are in flight for other calls", busy=True)
    return Obstacle()


def _in_flight(slot: VmSlot, part: slice, states: tuple[HvGfnState, ...]) -> bool:
    return bool(slot.calls_in_flight) and any(
        bool(is_in(slot.state[block][moving], states).any())
        for block in slot.blocks_of(part)
        if (moving := slot.marked(block, BUSY)).any()
    )


def _count_needed(vm: Vm, slots: Iterable[VmSlot], event: GfnEvent) -> Operation[int]:
    """Return the least number of device pages that the unmigrated GFNs need.

    Of those that the design may leave as they are, one that is sent needs a device page until it is refused.
    """
    table, sure, sent = vm.design.table, 0, 0

    def count_part(slot: VmSlot, part: slice) -> None:
        nonlocal sure, sent
        for block in slot.blocks_of(part):
            states, marks = slot.state[block], slot.marks[block]
            sending = is_in(states, wanting(table, event, GfnAction.PAGE_IN))
            sending &= (marks & np.uint8(HOST_POPULATED | SENT)) != 0
            unmigrated = is_in(states, wanting(table, event, GfnAction.MARK, GfnAction.PAGE_IN))
            sent += int(np.count_nonzero(sending))
            sure += int(np.count_nonzero(unmigrated & ~sending))

    yield from part_by_part(slots, count_part)
    return sure + (min(sent, 1) if vm.design.leaves else sent)


def _scrub_and_send(store: Store, vm: Vm, event: GfnEvent, done: MigrationPass) -> Operation[PageBatch]:
    """Do what a pass could not do at once: scrub, then send.

    Order: what is sent is BUSY, and its device pages are reserved, while the others are scrubbed.
    """
    to_scrub, to_send, needed = done.to_scrub, done.to_send, done.needed
    done.to_scrub, done.to_send, done.needed = [], [], 0
    with in_flight(store.pool, to_scrub + to_send, taking=needed):
        yield from scrub_pages(store, vm, to_scrub)
    next_states = vm.design.table.judge(event, states_of(to_send)).next_state
    return (yield from page_in(store, vm, to_send, next_states))


def _migrate_part(
    store: Store, vm: Vm, slot: VmSlot, part: slice, event: GfnEvent, done: MigrationPass
) -> None:
    """Secure, at once, what needs no ultracall; collect what does, and which pages are to be scrubbed.

    Order: what is collected is sent before anything else runs, so its device pages are counted as gone here.
    """
    table = vm.design.table
    for block in slot.blocks_of(part):
        states, marks = slot.state[block], slot.marks[block]
        unmigrated = is_in(states, wanting(table, event, GfnAction.MARK, GfnAction.PAGE_IN))
        for offsets in [gfns.each_offset() for gfns in done.kept if gfns.slot is slot]:
            unmigrated[offsets[(offsets >= block.start) & (offsets < block.stop)] - block.start] = False
        wanted = int(np.count_nonzero(unmigrated))
        free = store.pool.free - done.needed
        if cut := wanted > free:
            done.short = True
            unmigrated &= np.cumsum(unmigrated) <= free
            wanted = int(np.count_nonzero(unmigrated))
        if not wanted:
            continue
        if not cut and not marks.max():  # nothing was kept either: what is sent is marked
            store.pool.take(wanted)
            table.advance(event, states)
            continue
        sending = unmigrated & is_in(states, wanting(table, event, GfnAction.PAGE_IN))
        sending &= (marks & np.uint8(HOST_POPULATED | SENT)) != 0
        if sending.any():
            done.to_send.append(gfn_set_at(slot, np.flatnonzero(sending) + block.start))
            done.needed += done.to_send[-1].pages
        here = unmigrated & ~sending
        store.pool.take(int(np.count_nonzero(here)))
        advanced = states.copy()
        table.advance(event, advanced)
        np.copyto(states, advanced, where=here)
        emptied = here & ((marks & np.uint8(HOST_POPULATED)) != 0)
        if emptied.any():
            done.to_scrub.append(gfn_set_at(slot, np.flatnonzero(emptied) + block.start))
