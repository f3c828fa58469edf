"""The deeds of the GFN table that move pages: one operation each, whoever asked.

Order: a page's state changes only once the Ultravisor has accepted, so a refusal leaves it as it was. The
GFNs bear MOVING from before the ultracall until their normal pages are as they shall be.
"""

from collections.abc import Sequence

import numpy as np

from pef_hypervisor.frames import CARRIED, REPLACED, TOUCHED, Reservation, Vm, VmSlot
from pef_hypervisor.store import Store
from pef_hypervisor.to_ultravisor import Flight, Leg, Part, fly
from pef_kit.operations import Operation
from pef_kit.spans import I64, Mask, among
from pef_protocol.states import HvGfnState


def land(leg: Leg) -> Mask:
    """Give the accepted GFNs of a leg their next state; return which they are."""
    done = leg.done
    leg.slot.state[leg.offsets[done]] = leg.then[done]
    return done


def wipe(store: Store, vm: Vm, slot: VmSlot, offsets: I64) -> Operation[None]:
    """Scrub the normal pages at `offsets` (pages), which bear MOVING or are nobody's, and their marks.

    Where a request of the memory bus still names one, and there is no time to wait for its end, the pages
    keep the mark by which reset scrubs them, and the VM must be reset.
    """
    if (yield from store.memory.scrub(slot, offsets)):
        slot.unmark(offsets, TOUCHED | REPLACED)
    else:
        slot.mark(offsets, TOUCHED | REPLACED)
        vm.must_reset = True


def bring(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
    """Do BRING: the normal pages go into secure memory; those of refused GFNs stay what they are.

    The caller has made sure that there are device pages for all.
    """

    def landed(leg: Leg, reserved: Reservation) -> Operation[None]:
        done = leg.offsets[land(leg)]
        reserved.keep(len(done))
        leg.slot.mark(done, CARRIED)
        yield from wipe(store, vm, leg.slot, done)

    return (yield from fly(store.pool, Flight(vm, parts), "UV_PAGE_IN", landed, taking=True))


def offer(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
    """Do OFFER: the normal pages are shared, a fresh one in place of a secure page.

    Its device page is given back; where the Ultravisor refuses, the fresh page goes and the secure one stays.
    """

    def landed(leg: Leg, _: Reservation) -> Operation[None]:
        done = land(leg)
        fresh = among(leg.before, HvGfnState.SECURE)
        leg.slot.mark(leg.offsets[done], TOUCHED)
        leg.slot.mark(leg.offsets[done & fresh], REPLACED)
        store.pool.give_back(int(np.count_nonzero(done & fresh)))
        yield from wipe(store, vm, leg.slot, leg.offsets[leg.refused & fresh])

    return (yield from fly(store.pool, Flight(vm, parts), "UV_PAGE_IN", landed))


def take_out(store: Store, vm: Vm, parts: Sequence[Part]) -> Operation[Flight]:
    """Do TAKE_OUT: the encrypted pages come into their normal pages, the device pages are given back."""

    def landed(leg: Leg, _: Reservation) -> Operation[None]:
        done = land(leg)
        leg.slot.mark(leg.offsets[done], TOUCHED | REPLACED)
        store.pool.give_back(int(np.count_nonzero(done)))
        yield from wipe(store, vm, leg.slot, leg.offsets[leg.refused])

    return (yield from fly(store.pool, Flight(vm, parts), "UV_PAGE_OUT", landed, leaving=True))
