"""The host takes normal pages away from a guest, as swapping does: UV_PAGE_INVAL for shared ones.

The bytes stay, as swap keeps them: the next H_SVM_PAGE_IN brings them back.

Source: specification of the Hypervisor, section 6; decisions, "UV_PAGE_INVAL".
"""

from itertools import count

from pef_hypervisor.gfn.columns import BUSY, GfnSets, Reservation, marked, only, states_of
from pef_hypervisor.gfn.table import GfnAction, GfnEvent
from pef_hypervisor.outcome import DONE, Errno, Outcome, barred, no_vm
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import PageBatch, send_batch
from pef_kit.core.effects import Backoff, Operation, Turn
from pef_kit.core.runs import Mask, isin
from pef_protocol.codes import UCode
from pef_protocol.http import PAGES_AT_ONCE
from pef_protocol.quantities import PAGE_SIZE, Gfn, Gpa, Lpid, gfn_of
from pef_protocol.states import HvGfnState


def unmap(store: Store, lpid: Lpid, gpa: Gpa, pages: int) -> Operation[Outcome]:
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


def _unmap(store: Store, vm: Vm, gpa: Gpa, pages: int) -> Operation[Outcome]:
    """Unmap as many pages at once as one message may name."""
    start, end = gfn_of(gpa), gfn_of(gpa) + pages
    if vm.slots.covered(start, pages) is None:
        return Outcome(Errno.EFAULT, "the range is not all in slots")
    for first in range(start, end, PAGES_AT_ONCE):
        if first > start:
            yield Turn()
        outcome = yield from _unmap_part(store, vm, Gfn(first), min(PAGES_AT_ONCE, end - first))
        if outcome is not DONE:
            return outcome
    return DONE


def _unmap_part(store: Store, vm: Vm, first: Gfn, pages: int) -> Operation[Outcome]:
    """Wait until nobody has a page of the range in flight, then tell the Ultravisor."""
    for attempt in count():
        gfn_sets = vm.slots.covered(first, pages)
        if gfn_sets is None:
            return Outcome(Errno.EFAULT, "the range is not all in slots")
        if not marked(gfn_sets, BUSY).any():
            return (yield from _invalidate(store, vm, gfn_sets))
        again: bool = yield Backoff(attempt)
        if not again:
            break
    return Outcome(Errno.EBUSY, "pages of the range are in flight")


def _invalidate(store: Store, vm: Vm, gfn_sets: GfnSets) -> Operation[Outcome]:
    """Tell the Ultravisor of what may be shared; what it holds as secure it refuses, which is as well."""
    registered = [gfns for gfns in gfn_sets if gfns.slot.registered]
    judged = vm.design.table.judge(GfnEvent.UNMAP, states_of(registered))
    batch = PageBatch(vm, only(registered, isin(judged.action, GfnAction.INVALIDATE)))

    def commit(_: Mask, __: Reservation) -> Operation[None]:
        yield from ()

    yield from send_batch(store.pool, batch, "UV_PAGE_INVAL", commit)
    harmless = {0} if HvGfnState.SHARED in vm.design.states else {0, UCode.U_P2}
    wrong = set(batch.codes.tolist()) - harmless
    if vm.must_reset:
        return Outcome(Errno.EIO, batch.detail)
    if not wrong and not batch.failure:
        return DONE
    return Outcome(Errno.EBUSY if wrong == {UCode.U_BUSY} else Errno.EINVAL, batch.detail)
