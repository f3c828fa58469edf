"""GFNs that the Ultravisor did not ask for: what a design does with them, for whole slots at once.

Both H_SVM_INIT_DONE and a slot that was just plugged in come here; the design's table says what to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import numpy as np

from pef_hypervisor.gfn.columns import BUSY, HOST_POPULATED, SENT, Batch, VmSlot, in_flight, is_in
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, wanting
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.calls import Obstacle
from pef_hypervisor.to_ultravisor.paging import Flight, Part, page_in, scrub_pages
from pef_kit.operations import Operation, Pause, Turn
from pef_kit.parts import batches, part_by_part
from pef_kit.spans import I64, U8
from pef_protocol.codes import UCode
from pef_protocol.states import HvGfnState

TOO_FEW: Final = Obstacle("there are not enough device pages")


@dataclass(slots=True)
class Sweep:
    """What a pass over slots found; of the batch under way, what could not be done at once. Offsets in pages.

    `kept`: what was sent before and the design leaves as it is; it is not sent again.
    """

    kept: list[tuple[VmSlot, I64]]
    short: bool = False
    """Device pages ran out."""
    refused: bool = False
    """The design leaves something as it is that was sent in this pass: its device page may serve others."""
    scrubs: list[tuple[VmSlot, I64]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    promised: int = 0
    """Device pages that the parts will take."""


def migrate_remaining(store: Store, vm: Vm, slots: Iterable[VmSlot], event: GfnEvent) -> Operation[Obstacle]:
    """Turn the left-over GFNs of `slots` into secure ones as the design says; return what went wrong.

    Where it is sure that there are too few device pages nothing is done. What was done stays done, and the
    rest can be done later. Where device pages are short, those of GFNs that the design leaves as they are
    serve others, pass by pass.
    """
    chosen = tuple(slots)
    if not wanting(vm.rules.table, event, GfnAction.MARK, GfnAction.PAGE_IN):
        return Obstacle()
    obstacle = yield from _at_rest(vm, next(batches(chosen), []), event)
    if not obstacle and (yield from _needed(vm, chosen, event)) > store.pool.free:
        return TOO_FEW
    sweep = Sweep([], short=True)
    while sweep.short and not obstacle:
        sweep.short, sweep.refused = False, False
        for place, batch in enumerate(batches(chosen)):
            if place:
                yield Turn()
            obstacle = yield from _secure_batch(store, vm, batch, event, sweep)
            if obstacle:
                break
        if not obstacle and sweep.short and not sweep.refused:
            return TOO_FEW
    return obstacle


def _secure_batch(store: Store, vm: Vm, batch: Batch, event: GfnEvent, sweep: Sweep) -> Operation[Obstacle]:
    """Secure the left-over GFNs of a batch, as far as device pages reach; return what went wrong."""
    obstacle = yield from _at_rest(vm, batch, event)
    if obstacle:
        return obstacle
    for slot, part in batch:
        _sweep(store, vm, slot, part, event, sweep)
    if not (sweep.parts or sweep.scrubs):
        return Obstacle()
    flight = yield from _flown(store, vm, sweep)
    if flight.obstacle:
        return flight.obstacle
    refused = set(flight.codes[flight.codes != 0].tolist())
    if odd := refused - {int(code) for code in vm.rules.leaves}:
        return Obstacle("UV_PAGE_IN: " + ", ".join(sorted(UCode(code).name for code in odd)))
    sweep.refused = sweep.refused or bool(refused)
    sweep.kept += [(leg.slot, leg.offsets[~leg.done]) for leg in flight.legs()]
    return Obstacle()


def _at_rest(vm: Vm, batch: Batch, event: GfnEvent) -> Operation[Obstacle]:
    """Wait until no left-over GFN of a batch is in flight for another call; return that time was over."""
    left = wanting(vm.rules.table, event, GfnAction.MARK, GfnAction.PAGE_IN)
    for attempt in count():
        if not any(_in_flight(slot, part, left) for slot, part in batch):
            break
        if not (yield Pause(attempt)):
            return Obstacle("left-over GFNs are in flight for other calls", busy=True)
    return Obstacle()


def _needed(vm: Vm, slots: Iterable[VmSlot], event: GfnEvent) -> Operation[int]:
    """Return the least number of device pages that the left-over GFNs need.

    Of those that the design may leave as they are, one that is sent needs a device page until it is refused.
    """
    table, sure, sent = vm.rules.table, 0, 0

    def count_part(slot: VmSlot, part: slice) -> None:
        nonlocal sure, sent
        for block in slot.blocks_of(part):
            states, marks = slot.state[block], slot.marks[block]
            brought = is_in(states, wanting(table, event, GfnAction.PAGE_IN))
            brought &= (marks & np.uint8(HOST_POPULATED | SENT)) != 0
            left = is_in(states, wanting(table, event, GfnAction.MARK, GfnAction.PAGE_IN))
            sent += int(np.count_nonzero(brought))
            sure += int(np.count_nonzero(left & ~brought))

    yield from part_by_part(slots, count_part)
    return sure + (min(sent, 1) if vm.rules.leaves else sent)


def _flown(store: Store, vm: Vm, sweep: Sweep) -> Operation[Flight]:
    """Do what a pass could not do at once: scrub, then send.

    Order: what is sent bears the mark, and its device pages are reserved, while the rest is scrubbed.
    """
    scrubs, parts, promised = sweep.scrubs, sweep.parts, sweep.promised
    sweep.scrubs, sweep.parts, sweep.promised = [], [], 0
    pages = [*scrubs, *((part.slot, part.offsets) for part in parts)]
    with in_flight(store.pool, pages, taking=promised):
        for slot, offsets in scrubs:
            yield from scrub_pages(store, vm, slot, offsets)
    return (yield from page_in(store, vm, parts))


def _in_flight(slot: VmSlot, part: slice, left: tuple[HvGfnState, ...]) -> bool:
    return bool(slot.flights) and any(
        bool(is_in(slot.state[block][moving], left).any())
        for block in slot.blocks_of(part)
        if (moving := slot.marked(block, BUSY)).any()
    )


def _sweep(store: Store, vm: Vm, slot: VmSlot, part: slice, event: GfnEvent, sweep: Sweep) -> None:
    """Secure, at once, what needs no ultracall; collect what does, and which pages are to be scrubbed.

    Order: what is collected is flown before anything else runs, so its device pages are counted as gone here.
    """
    table = vm.rules.table
    for block in slot.blocks_of(part):
        states, marks = slot.state[block], slot.marks[block]
        left = is_in(states, wanting(table, event, GfnAction.MARK, GfnAction.PAGE_IN))
        for offsets in [offsets for other, offsets in sweep.kept if other is slot]:
            left[offsets[(offsets >= block.start) & (offsets < block.stop)] - block.start] = False
        wanted = int(np.count_nonzero(left))
        free = store.pool.free - sweep.promised
        if cut := wanted > free:
            sweep.short = True
            left &= np.cumsum(left) <= free
            wanted = int(np.count_nonzero(left))
        if not wanted:
            continue
        if not cut and not marks.max():  # nothing was kept either: what is sent is marked
            store.pool.take(wanted)
            table.advance(event, states)
            continue
        brought = left & is_in(states, wanting(table, event, GfnAction.PAGE_IN))
        brought &= (marks & np.uint8(HOST_POPULATED | SENT)) != 0
        _collect(sweep, slot, block, np.flatnonzero(brought), table.judge(event, states[brought]).then)
        here = left & ~brought
        store.pool.take(int(np.count_nonzero(here)))
        advanced = states.copy()
        table.advance(event, advanced)
        np.copyto(states, advanced, where=here)
        emptied = np.flatnonzero(here & ((marks & np.uint8(HOST_POPULATED)) != 0)) + block.start
        sweep.scrubs.append((slot, emptied))


def _collect(sweep: Sweep, slot: VmSlot, block: slice, found: I64, then: U8) -> None:
    sweep.parts.append(Part(slot, found + block.start, then))
    sweep.promised += len(found)
