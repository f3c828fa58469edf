"""Bring guest memory to where the host can touch it: what is secure comes out, encrypted.

Source: specification of the Hypervisor, section 4, "host (VMM) touches the page".
"""

from itertools import count
from typing import Final

from pef_hypervisor.gfn.columns import BUSY, GfnSets, marked, only, states_of
from pef_hypervisor.gfn.table import GfnAction, GfnEvent
from pef_hypervisor.outcome import Errno, Outcome
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import page_out
from pef_kit.core.effects import Backoff, Operation
from pef_kit.core.runs import U8, isin
from pef_protocol.quantities import PAGE_SIZE, Gpa, gfn_of, pages_in

BUS_ERROR: Final = "bus error"


def fetch_for_host(store: Store, vm: Vm, gpa: Gpa, length: int) -> Operation[Outcome | GfnSets]:
    """Return a range (bytes) as GFNs that the host can touch, or the outcome that ends its access.

    Secure pages are paged out; pages that another call has in flight are waited for.
    """
    first, pages = gfn_of(gpa), pages_in(gpa % PAGE_SIZE + length)
    for attempt in count():
        gfn_sets = vm.slots.covered(first, pages)
        if gfn_sets is None:
            return Outcome(Errno.EFAULT, "the range is not all in slots")
        moving = bool(marked(gfn_sets, BUSY).any())
        if not moving:
            secure, next_states = secure_for_host(vm, gfn_sets)
            if not secure:
                return gfn_sets
            batch = yield from page_out(store, vm, secure, next_states)
            if refused := batch.detail:
                errno = Errno.EBUSY if batch.obstacle.busy else Errno.EIO
                return Outcome(errno, refused if errno is Errno.EBUSY else f"{BUS_ERROR}: {refused}")
        # What is out may be in again by now; the first look after it needs no pause.
        if moving or attempt:
            again: bool = yield Backoff(attempt)
            if not again:
                break
    return Outcome(Errno.EBUSY, "pages of the range are in flight")


def secure_for_host(vm: Vm, gfn_sets: GfnSets) -> tuple[GfnSets, U8]:
    """Return the GFNs that must come out before the host touches them, and the next state of each (uint8)."""
    judged = vm.design.table.judge(GfnEvent.HOST_TOUCH, states_of(gfn_sets))
    out = isin(judged.action, GfnAction.PAGE_OUT)
    return only(gfn_sets, out), judged.next_state[out]
