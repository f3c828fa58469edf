"""What H_SVM_PAGE_IN and H_SVM_PAGE_OUT have in common: their runs, their rungs, and the form of the reply.

Source: specification of the Hypervisor, section 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pef_hypervisor.gfn.columns import BUSY, VmSlot, picked
from pef_hypervisor.gfn.table import GfnEvent
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import Flight, Part, as_hypercall_code
from pef_kit.columns import GfnSet
from pef_kit.ladder import Codes
from pef_kit.refusals import Refusals
from pef_kit.spans import I64, NOT_FOUND, U8, U64, Mask, columns_of
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.hypercalls import SvmPageIn, SvmPageOut
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.wire import Caller, Role


class Paging:
    """A paging hypercall: who asks, for which VM, and where its runs lie."""

    def __init__(self, store: Store, caller: Caller, request: SvmPageIn | SvmPageOut) -> None:
        self.caller = caller
        self.request = request
        self.vm = store.vms.get(request.lpid)
        self.gpas: U64
        self.counts: U64
        self.gpas, self.counts = columns_of(request.runs)
        self.places: I64 = np.full(len(self.gpas), NOT_FOUND, np.int64)
        if self.vm is not None:
            self.places = self.vm.slots.locate(self.gpas, self.counts)
        self.refusals = Refusals(self.gpas, self.counts, HCode)

    def gfn_sets(self, codes: Codes) -> list[GfnSet[VmSlot]]:
        """Sort the runs that no rung refused (code 0) into their slots."""
        if self.vm is None:
            return []
        return self.vm.slots.gfn_sets(self.gpas, self.counts, (codes == 0).nonzero()[0], self.places)

    def reply(self, verdicts: Sequence["Verdict"], detail: str) -> Reply:
        """Answer with the GFNs that were refused."""
        for verdict in verdicts:
            self.refusals.add_pages(verdict.gfns, verdict.codes)
        self.refusals.detail = detail
        return self.refusals.reply()


def from_ultravisor(asked: Paging) -> bool:
    """Check rung `caller`."""
    return asked.caller.role is Role.ULTRAVISOR


def started(asked: Paging) -> bool:
    """Check rung `started`."""
    return asked.vm is not None and asked.vm.started


def order(asked: Paging) -> bool:
    """Check rung `order`."""
    return asked.request.order == PAGE_ORDER


def in_one_slot(asked: Paging) -> Mask:
    """Check rung `gpa`."""
    inside: Mask = asked.places != NOT_FOUND
    return inside


@dataclass(slots=True)
class Verdict:
    """What becomes of the GFNs of a set: state before and after, code, deed; an element a GFN."""

    gfns: GfnSet[VmSlot]
    before: U8
    then: U8
    codes: Codes
    does: U8

    def part(self, mask: Mask) -> Part:
        """Return the marked GFNs as a part of a flight."""
        return Part(self.gfns.slot, picked(self.gfns, mask), self.then[mask])

    def refuse(self, mask: Mask, code: HCode) -> None:
        """Give the marked GFNs `code`."""
        self.codes[mask] = code


def judge(vm: Vm, event: GfnEvent, gfns: GfnSet[VmSlot]) -> Verdict:
    """Look up `event` for all GFNs of a set; those that another call has in flight are busy."""
    before = gfns.slot.state[gfns.selection].copy()
    judged = vm.rules.table.judge(event, before)
    verdict = Verdict(gfns, before, judged.then, judged.code, judged.does)
    verdict.refuse(gfns.slot.marked(gfns.selection, BUSY), HCode.H_BUSY)
    return verdict


def note(flight: Flight, sent: Sequence[tuple[Verdict, Mask]]) -> None:
    """Write the codes of a flight, whose parts were `sent`, into the verdicts."""
    codes = as_hypercall_code(flight.codes)
    start = 0
    for verdict, mask in sent:
        length = int(np.count_nonzero(mask))
        verdict.codes[mask] = codes[start : start + length]
        start += length
