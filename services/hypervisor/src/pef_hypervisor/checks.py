"""What several calls check alike: who asks, for which VM, where runs lie, and whether a call may begin.

Source: specification of the Hypervisor, sections 3 and 5.
"""

from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np

from pef_hypervisor.gfn.columns import BUSY, Codes, GfnSets, marked
from pef_hypervisor.gfn.table import VmEvent, vm_cell
from pef_hypervisor.state import Store, Vm
from pef_kit.core.effects import Backoff, Operation
from pef_kit.core.life import OtherIncarnation
from pef_kit.core.replies import Refusals
from pef_kit.core.runs import NOT_FOUND, Mask, columns_of
from pef_protocol.calls import Reply
from pef_protocol.check_orders import Check
from pef_protocol.codes import HCode
from pef_protocol.http import Caller, Role
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart, SvmPageIn, SvmPageOut
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, gfn_of, pages_in
from pef_protocol.states import HvVmState

HELD_BY_ANOTHER: Final = "another operation has the whole VM"
MUST_RESET: Final = "the VM must be reset"


class Hypercall:
    """A hypercall about one VM: who asks, and for which VM; an absent one where the lpid names none."""

    def __init__(
        self, store: Store, caller: Caller, request: SvmInitStart | SvmInitDone | SvmInitAbort
    ) -> None:
        self.store = store
        self.caller = caller
        self.vm = store.vm(request.lpid)


class PagingHypercall:
    """A hypercall about pages: as `Hypercall`, with its check order, its runs, and the slots of these."""

    def __init__(
        self, store: Store, caller: Caller, request: SvmPageIn | SvmPageOut, order: tuple[Check, ...]
    ) -> None:
        self.order = order
        self.caller = caller
        self.request = request
        self.vm = store.vm(request.lpid)
        self.gpas, self.counts = columns_of(request.runs)
        self.places = self.vm.slots.locate(self.gpas, self.counts)

    def gfn_sets(self, run_codes: Codes) -> GfnSets:
        """Return the GFNs of the runs that no check refused (code 0), one set per slot."""
        return self.vm.slots.gfn_sets(self.gpas, self.counts, (run_codes == 0).nonzero()[0], self.places)

    def reply(
        self, run_codes: Codes, gfn_sets: GfnSets, codes: Codes, detail: str, by_table: Mask | bool = False
    ) -> Reply:
        """Answer with the runs that a check refused, and with the GFNs whose code is not 0.

        `by_table` (bool, one per GFN) marks those that the transition table refused.
        """
        refusals = Refusals(self.gpas, self.counts, self.order)
        refusals.add_runs(run_codes)
        refused_by_table = np.broadcast_to(by_table, codes.shape)
        start = 0
        for gfns in gfn_sets:
            part = slice(start, start + gfns.pages)
            refusals.add_pages(gfns, codes[part], by_table=refused_by_table[part])
            start += gfns.pages
        refusals.detail = detail
        return refusals.reply()


def from_ultravisor(call: Hypercall | PagingHypercall) -> bool:
    """Check `caller`."""
    return call.caller.role is Role.ULTRAVISOR


def started(call: PagingHypercall) -> bool:
    """Check `started`."""
    return call.vm.started


def page_order(call: PagingHypercall) -> bool:
    """Check `order`."""
    return call.request.order == PAGE_ORDER


def in_one_slot(call: PagingHypercall) -> Mask:
    """Check `gpa`: each run lies in one slot (bool, one per run)."""
    inside: Mask = call.places != NOT_FOUND
    return inside


def allowed(call: Hypercall, event: VmEvent) -> bool:
    """Tell whether the VM table lets `event` happen, rather than refuse it with H_STATE; to no absent VM."""
    return call.vm.life.alive and vm_cell(event, call.vm.state).code is not HCode.H_STATE


def why_busy(vm: Vm, *, exclusive: bool = False) -> str:
    """Say why a hypercall, or an `exclusive` one, is answered with H_BUSY; "" where it is served."""
    if vm.gate.taken if exclusive else vm.gate.closed:
        return HELD_BY_ANOTHER
    return MUST_RESET if vm.must_reset else ""


def require_meant(vm: Vm, caller: Caller, *, starts: bool) -> None:
    """Raise OtherIncarnation where a hypercall means another SVM than the one that stands behind the VM.

    One that `starts` an SVM must mean a later one than any that began or was ended before. A normal VM has
    none: what is asked for an SVM of the past is refused by the checks, with nothing done. While the gate is
    closed everything is busy, also for an SVM that has begun since a reset ended the one before.
    """
    meant, known, earliest = caller.incarnation, vm.svm_incarnation, vm.next_svm
    if caller.role is not Role.ULTRAVISOR or meant is None:
        return
    later = _later(meant, known)
    if starts:
        right = later and (earliest in {None, meant} or _later(meant, earliest))
    else:
        nothing_done = vm.state is HvVmState.NORMAL and not vm.abort_due
        right = known in {None, meant} or nothing_done or (later and vm.gate.closed)
    if not right:
        message = f"the SVM of VM {vm.lpid} is {known}, the next is {earliest} or later, not {meant}"
        raise OtherIncarnation(message)


def _later(one: Incarnation, other: Incarnation | None) -> bool:
    return other is None or (one.instance == other.instance and one > other)


# Accesses of a normal VM


@dataclass(frozen=True, slots=True)
class Refused:
    """An access that does not resolve: why, and at which guest address."""

    reason: str
    gpa: Gpa


def why_access_refused(vm: Vm) -> str:
    """Say why no access of a VM may begin; "" where one may."""
    if not vm.life.alive:
        return "no VM"
    if vm.gate.closed:
        return "busy"
    return "must be reset" if vm.must_reset else ""


def find_accessible(vm: Vm, gpa: Gpa, length: int) -> Operation[GfnSets | Refused]:
    """Find a range (bytes) in slots of a VM that runs here; wait for pages that another access has."""
    for attempt in count():
        if not vm_cell(VmEvent.START_VM, vm.state).code.succeeded:
            return Refused(vm.state.name.lower(), gpa)
        gfn_sets = vm.slots.covered(gfn_of(gpa), pages_in(gpa % PAGE_SIZE + length))
        if gfn_sets is None:
            return Refused("no slot", gpa)
        if not marked(gfn_sets, BUSY).any():
            return gfn_sets
        again: bool = yield Backoff(attempt)
        if not again:
            break
    return Refused("busy", gpa)
