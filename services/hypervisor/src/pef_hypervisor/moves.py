"""The deeds of the GFN table that move pages: one operation each, whoever asked.

Order: a page's state changes only once the Ultravisor has accepted, so a refusal leaves it as it was. The
GFNs bear MOVING from before the ultracall until their normal pages are as they shall be.
"""

from collections.abc import Sequence

import numpy as np

from pef_hypervisor.frames import CARRIED, DOUBTFUL, MOVING, REPLACED, TOUCHED, Vm, VmSlot, picked
from pef_hypervisor.lifecycle import GfnEvent
from pef_hypervisor.store import Store
from pef_hypervisor.to_ultravisor import Flight, Leg, Part
from pef_kit.columns import Portion
from pef_kit.operations import Operation
from pef_kit.spans import Mask, among
from pef_protocol.codes import UCode
from pef_protocol.states import HvGfnState


def land(leg: Leg) -> Mask:
    """Give the accepted GFNs of a leg their next state; return which they are."""
    done = leg.done
    leg.slot.state[leg.offsets[done]] = leg.then[done]
    return done


def said_out(leg: Leg) -> Mask:
    """Return which secure GFNs UV_PAGE_OUT says are out already: the same call was done before, unheard.

    Trust: of a GFN that is not in doubt only an answer about that very GFN says so. A refusal of the call as
    a whole has the same code, and changes nothing.
    """
    known = leg.named | leg.slot.marked(leg.offsets, DOUBTFUL)
    out: Mask = known & among(leg.codes, UCode.U_PARAMETER) & ~leg.unheard
    return out


def bring(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
    """Do BRING: the normal pages go into secure memory; those of refused GFNs stay what they are.

    The caller has made sure that there are device pages for all.
    """
    flight = Flight(vm, parts)
    with store.pool.reserving(len(flight)) as reserved, flight:
        yield from flight.send("UV_PAGE_IN")
        for leg in flight.legs():
            done = leg.offsets[land(leg)]
            reserved.keep(len(done))
            leg.slot.mark(done, CARRIED)
            yield from store.memory.scrub(leg.slot, done)
            leg.slot.unmark(done, TOUCHED | REPLACED)
    return flight


def offer(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
    """Do OFFER: the normal pages are shared, a fresh one in place of a secure page.

    Its device page is given back; where the Ultravisor refuses, the fresh page goes and the secure one stays.
    """
    flight = Flight(vm, parts)
    with flight:
        yield from flight.send("UV_PAGE_IN")
        for leg in flight.legs():
            done = land(leg)
            fresh = among(leg.before, HvGfnState.SECURE)
            leg.slot.mark(leg.offsets[done], TOUCHED)
            leg.slot.mark(leg.offsets[done & fresh], REPLACED)
            leg.slot.unmark(leg.offsets[done], DOUBTFUL)
            store.pool.give_back(int(np.count_nonzero(done & fresh)))
            yield from store.memory.scrub(leg.slot, leg.offsets[leg.refused & fresh])
    return flight


def take_out(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
    """Do TAKE_OUT: the encrypted pages come into their normal pages, the device pages are given back.

    Where nobody answered, the pages may be out: they stay secure, in doubt, and what came is kept.
    """
    flight = Flight(vm, parts)
    with store.pool.freeing(len(flight)), flight:
        yield from flight.send("UV_PAGE_OUT")
        for leg in flight.legs():
            doubtful = leg.slot.marked(leg.offsets, DOUBTFUL)
            leg.codes[said_out(leg)] = UCode.U_SUCCESS
            done = land(leg)
            leg.slot.mark(leg.offsets[done | leg.unheard], TOUCHED | REPLACED)
            leg.slot.mark(leg.offsets[leg.unheard], DOUBTFUL)
            leg.slot.unmark(leg.offsets[done], DOUBTFUL)
            store.pool.give_back(int(np.count_nonzero(done)))
            yield from store.memory.scrub(leg.slot, leg.offsets[leg.refused & ~leg.unheard & ~doubtful])
    return flight


def doubt_unheard(store: Store, vm: Vm, flight: Flight) -> None:
    """Call paged-out pages secure, in doubt, that the Ultravisor asked for and nobody said to have come.

    Order: the flight has just ended, so there are device pages for them. What they came from is kept. Were
    they called out while they are in, they would fill secure memory: H_SVM_PAGE_OUT would do nothing.
    """
    out = vm.rules.table.cells[GfnEvent.PAGE_OUT][HvGfnState.SECURE].then
    for leg in flight.legs():
        states = leg.slot.state[leg.offsets]
        back = leg.unheard & among(states, out) & leg.slot.marked(leg.offsets, REPLACED)
        leg.slot.state[leg.offsets[back]] = leg.then[back]
        leg.slot.mark(leg.offsets[back], DOUBTFUL)
        store.pool.take(int(np.count_nonzero(back)))


def out_of_doubt(store: Store) -> Operation[bool]:
    """Take all pages in doubt out, where device pages are short; return whether that gave any back.

    Those that are out already are called so; the others leave secure memory, and come when they are used.
    """
    free = store.pool.free
    for vm in tuple(store.vms.values()):
        parts: list[Part] = []
        for slot in () if vm.gate.closed else vm.slots:
            doubtful = slot.where(DOUBTFUL)
            states, still = slot.state[doubtful], ~slot.marked(doubtful, MOVING)
            chosen = still & among(states, HvGfnState.SECURE)
            then = vm.rules.table.judge(GfnEvent.PAGE_OUT, states[chosen]).then
            parts.append(Part(slot, doubtful[chosen], then))
        with vm.gate.admitted():
            yield from take_out(store, vm, parts)
    return store.pool.free > free


def settle_doubts(store: Store, vm: Vm, portion: Portion[VmSlot]) -> None:
    """Take the Ultravisor's word for GFNs in doubt: it asks for them, so they are out."""
    slot = portion.slot
    secure = among(slot.state[portion.chosen], HvGfnState.SECURE)
    out = picked(
        portion, secure & slot.marked(portion.chosen, DOUBTFUL) & ~slot.marked(portion.chosen, MOVING)
    )
    slot.state[out] = vm.rules.table.judge(GfnEvent.PAGE_OUT, slot.state[out]).then
    slot.unmark(out, DOUBTFUL)
    store.pool.give_back(len(out))
