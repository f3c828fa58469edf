"""The host takes normal pages away from a guest, as swapping does: UV_PAGE_INVAL for shared ones.

The bytes stay, as swap keeps them: the next H_SVM_PAGE_IN brings them back.

Source: specification of the Hypervisor, section 6; decisions, "UV_PAGE_INVAL".
"""

from itertools import count

from pef_hypervisor.gfn.columns import BUSY, Reservation, VmSlot, picked
from pef_hypervisor.gfn.table import GfnAction, GfnEvent
from pef_hypervisor.outcome import DONE, Errno, Outcome, barred, no_vm
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import Flight, Leg, Part, fly
from pef_kit.columns import GfnSet
from pef_kit.operations import Operation, Pause, Turn
from pef_kit.spans import among
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE, gfn_of
from pef_protocol.states import HvGfnState
from pef_protocol.wire import PAGES_AT_ONCE


def unmap(store: Store, lpid: int, gpa: int, pages: int) -> Operation[Outcome]:
    """Unmap `pages` pages from `gpa`; pages in flight are waited for (EBUSY in the end).

    A long range is unmapped part by part, and no further than the first part that fails.
    """
    # parameters
    vm = store.vms.get(lpid)

    # checks
    if vm is None:
        return no_vm(lpid)
    if gpa % PAGE_SIZE:
        return Outcome(Errno.EINVAL, "gpa is not on a page boundary")
    if why := barred(vm):
        return why

    # effect
    with vm.gate.admitted() as turn:
        outcome = yield from store.leased(vm, turn, _unmap(store, vm, gpa, pages))

    # reply
    return outcome


def _unmap(store: Store, vm: Vm, gpa: int, pages: int) -> Operation[Outcome]:
    """Unmap as many pages at once as one message may name."""
    start, end = gfn_of(gpa), gfn_of(gpa) + pages
    if vm.slots.covered(start, pages) is None:
        return Outcome(Errno.EFAULT, "the range is not all in slots")
    for first in range(start, end, PAGES_AT_ONCE):
        if first > start:
            yield Turn()
        outcome = yield from _unmap_part(store, vm, first, min(PAGES_AT_ONCE, end - first))
        if outcome is not DONE:
            return outcome
    return DONE


def _unmap_part(store: Store, vm: Vm, first: int, pages: int) -> Operation[Outcome]:
    """Wait until nobody has a page of the range in flight, then tell the Ultravisor."""
    for attempt in count():
        gfn_sets = vm.slots.covered(first, pages)
        if gfn_sets is None:
            return Outcome(Errno.EFAULT, "the range is not all in slots")
        if not any(gfns.slot.marked(gfns.selection, BUSY).any() for gfns in gfn_sets):
            return (yield from _invalidate(store, vm, gfn_sets))
        if not (yield Pause(attempt)):
            break
    return Outcome(Errno.EBUSY, "pages of the range are in flight")


def _invalidate(store: Store, vm: Vm, gfn_sets: list[GfnSet[VmSlot]]) -> Operation[Outcome]:
    """Tell the Ultravisor of what may be shared; what it holds as secure it refuses, which is as well."""
    parts: list[Part] = []
    for gfns in gfn_sets:
        if not gfns.slot.registered:
            continue
        judged = vm.rules.table.judge(GfnEvent.UNMAP, gfns.slot.state[gfns.selection])
        shared = among(judged.does, GfnAction.INVALIDATE)
        parts.append(Part(gfns.slot, picked(gfns, shared), judged.then[shared]))

    def landed(_: Leg, __: Reservation) -> Operation[None]:
        yield from ()

    flight = yield from fly(store.pool, Flight(vm, parts), "UV_PAGE_INVAL", landed)
    harmless = {0} if HvGfnState.SHARED in vm.rules.states else {0, UCode.U_P2}
    wrong = set(flight.codes.tolist()) - harmless
    if vm.must_reset:
        return Outcome(Errno.EIO, flight.detail())
    if not wrong and not flight.failure:
        return DONE
    return Outcome(Errno.EBUSY if wrong == {UCode.U_BUSY} else Errno.EINVAL, flight.detail())
