"""What UV_PAGE_IN, UV_PAGE_OUT and UV_PAGE_INVAL have in common: their arguments, checked run by run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pef_kit.columns import GfnSet
from pef_kit.ladder import Codes
from pef_kit.refusals import Refusals
from pef_kit.spans import I64, NOT_FOUND, U64, Mask, columns_of
from pef_kit.transitions import Judgement
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageIn, PageInval, PageOut
from pef_protocol.wire import Caller, Role
from pef_ultravisor.gfn.columns import MOVING, FrameSlot, Svm
from pef_ultravisor.gfn.table import Deed
from pef_ultravisor.state import Ultravisor


@dataclass(slots=True)
class Paging:
    """A paging call as it is checked: its columns, the SVM it names, and where its runs lie."""

    uv: Ultravisor
    caller: Caller
    asked: PageIn | PageOut | PageInval
    gpas: U64 = field(init=False)
    counts: U64 = field(init=False)
    addresses: U64 = field(init=False)
    _places: I64 | None = None

    def __post_init__(self) -> None:
        columns = columns_of(self.asked.runs)
        self.gpas, self.counts = columns[-2:]
        self.addresses = columns[0] if len(columns) == 3 else np.zeros(0, np.uint64)  # noqa: PLR2004

    @property
    def runs(self) -> int:
        """Return how many runs the call has."""
        return len(self.gpas)

    @property
    def svm(self) -> Svm | None:
        """Return the SVM that the call names, or None."""
        return self.uv.svm(self.asked.lpid)

    @property
    def places(self) -> I64:
        """Return the slot of each run, or NOT_FOUND."""
        if self._places is None:
            self._places = self.svm.slots.locate(self.gpas, self.counts) if self.svm else None
        return np.full(self.runs, NOT_FOUND) if self._places is None else self._places

    @property
    def refusals(self) -> Refusals:
        """Return a collection for this call's refused runs."""
        return Refusals(self.gpas, self.counts, UCode)

    def gfn_sets(self, codes: Codes) -> list[GfnSet[FrameSlot]]:
        """Return the runs that no rung refused, by slot."""
        rows = (codes == 0).nonzero()[0]
        slots = self.svm.slots if self.svm else None
        return slots.gfn_sets(self.gpas, self.counts, rows, self.places) if slots else []


def gfn_sets_of(paging: Paging, rows: I64) -> list[GfnSet[FrameSlot]]:
    """Return those of the runs in `rows` that lie in a slot, by slot."""
    if paging.svm is None or not len(rows):
        return []
    inside = rows[paging.places[rows] != NOT_FOUND]
    return paging.svm.slots.gfn_sets(paging.gpas, paging.counts, inside, paging.places)


def from_hypervisor(paging: Paging) -> bool:
    """Pass where the Hypervisor calls."""
    return paging.caller.role is Role.HYPERVISOR


def order_is_known(paging: Paging) -> bool:
    """Pass where the order is 16."""
    return paging.asked.order == PAGE_ORDER


def no_flags(paging: Paging) -> bool:
    """Pass where no flag is set."""
    return isinstance(paging.asked, PageInval) or paging.asked.flags == 0


def names_an_svm(paging: Paging) -> bool:
    """Pass where the lpid names an SVM."""
    return paging.svm is not None


def in_one_slot(paging: Paging) -> Mask:
    """Pass runs that lie whole in one slot, on a page boundary, and overlap no other run."""
    inside: Mask = paging.places != NOT_FOUND
    return inside


def not_aborted(paging: Paging) -> bool:
    """Pass where the SVM is not aborted."""
    return paging.svm is not None and paging.svm.state is not UvVmState.ABORT


def not_aborted_or(paging: Paging, served: Callable[[GfnSet[FrameSlot]], Mask]) -> Mask:
    """Pass runs of an SVM that is not aborted, and of an aborted one those whose GFNs are all `served`."""
    svm = paging.svm
    if svm is None or svm.state is not UvVmState.ABORT:
        return np.ones(paging.runs, np.bool_)
    passes = in_one_slot(paging)
    inside = np.flatnonzero(passes)
    for gfns in svm.slots.gfn_sets(paging.gpas, paging.counts, inside, paging.places):
        rows = np.repeat(gfns.rows, gfns.counts)
        passes[rows[~served(gfns)]] = False
    return passes


PLACED: Final[Mapping[str, Callable[[Paging], bool | Mask]]] = {
    "caller": from_hypervisor,
    "order": order_is_known,
    "flags": no_flags,
    "lpid": names_an_svm,
    "gpa": in_one_slot,
}
"""The rungs that UV_PAGE_IN and UV_PAGE_OUT check alike."""


def judged(gfns: GfnSet[FrameSlot], judgement: Judgement) -> Judgement:
    """Return the judgement of a set, with GFNs whose bytes are being moved told U_BUSY."""
    moving = gfns.slot.marked(gfns.selection, MOVING)
    if np.count_nonzero(moving):
        judgement.code[moving] = UCode.U_BUSY
        judgement.does[moving] = Deed.WAIT
        judgement.then[moving] = gfns.slot.state[gfns.selection][moving]
    return judgement
