"""What several calls check alike: who calls, which SVM the call names, and where its GFNs lie.

A call is an object: its parameters, and what its checks have resolved. `found` and `located` may be nothing;
`svm`, `slot` and `gfn_sets` are for the effect, after the checks have passed. They raise Unchecked before.

Order: an object is of one moment. What was checked before a yield is checked again by a new object after it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np

from pef_kit.core.checks import Codes
from pef_kit.core.replies import Refusals
from pef_kit.core.runs import I64, NOT_FOUND, Mask, columns_of
from pef_kit.core.table import Judgement
from pef_protocol.check_orders import Check
from pef_protocol.codes import UCode
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import PAGE_ORDER, SLOT_IDS, Gfn, Lpid, SlotId
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageIn, PageInval, PageOut
from pef_ultravisor.gfn.columns import BUSY, FrameSlot, Gfns, GfnSets
from pef_ultravisor.gfn.table import Action
from pef_ultravisor.state import Svm, Ultravisor


class Unchecked(RuntimeError):
    """An effect asked for what no check has found."""


class _NamesLpid(Protocol):
    @property
    def lpid(self) -> Lpid: ...


class _NamesSlot(_NamesLpid, Protocol):
    @property
    def slotid(self) -> SlotId: ...


class _NamesGfns(Protocol):
    @property
    def gfn(self) -> Gfn: ...
    @property
    def num(self) -> int: ...


AskedT = TypeVar("AskedT")
HostT = TypeVar("HostT", bound=_NamesLpid)
SlotCallT = TypeVar("SlotCallT", bound=_NamesSlot)
RangeT = TypeVar("RangeT", bound=_NamesGfns)
PagingT = TypeVar("PagingT", bound=PageIn | PageOut | PageInval)


class Call(ABC, Generic[AskedT]):
    """A call as it is checked: who calls, what is asked, and which SVM is meant, if there is one."""

    def __init__(self, uv: Ultravisor, caller: Caller, asked: AskedT) -> None:
        self.uv = uv
        self.caller = caller
        self.asked = asked

    @property
    @abstractmethod
    def lpid(self) -> Lpid:
        """Return the lpid of the VM that is meant."""

    @cached_property
    def found(self) -> Svm | None:
        """Return the SVM that is meant, or None."""
        return self.uv.svm(self.lpid)

    @property
    def svm(self) -> Svm:
        """Return the SVM that is meant, which a check has found; raise Unchecked where none has."""
        if self.found is None:
            message = f"no check has found an SVM of lpid {self.lpid}"
            raise Unchecked(message)
        return self.found

    def is_in(self, *states: UvVmState) -> bool:
        """Tell whether there is an SVM in one of `states`."""
        return self.found is not None and self.found.state in states


# The Hypervisor's calls


class HypervisorCall(Call[HostT]):
    """An ultracall of the Hypervisor, which names an SVM by its lpid."""

    @property
    def lpid(self) -> Lpid:
        """Return the lpid that the call names."""
        return self.asked.lpid


def from_hypervisor(call: Call[Any]) -> bool:
    """Pass where the Hypervisor calls."""
    return call.caller.role is Role.HYPERVISOR


def names_an_svm(call: Call[Any]) -> bool:
    """Pass where there is an SVM of that lpid."""
    return call.found is not None


def not_aborted(call: Call[Any]) -> bool:
    """Pass where the SVM is not aborted."""
    return call.is_in(UvVmState.ACTIVE, UvVmState.SECURE)


class SlotCall(HypervisorCall[SlotCallT]):
    """A call about a memory slot."""

    @cached_property
    def located(self) -> FrameSlot | None:
        """Return the slot that the call names, or None."""
        return self.found.slots.get(self.asked.slotid) if self.found else None

    @property
    def slot(self) -> FrameSlot:
        """Return the slot, which a check has found; raise Unchecked where none has."""
        if self.located is None:
            message = f"no check has found slot {self.asked.slotid}"
            raise Unchecked(message)
        return self.located


def slot_id_is_known(call: SlotCall[Any]) -> bool:
    """Pass a slot id below 512."""
    return bool(call.asked.slotid < SLOT_IDS)


class Paging(HypervisorCall[PagingT]):
    """A paging call: the columns of its runs, and where the runs lie.

    `gpas`, `counts` and `addresses` (uint64, one per run): guest physical address in bytes, pages, real
    address in bytes. UV_PAGE_INVAL has no addresses.
    """

    def __init__(self, uv: Ultravisor, caller: Caller, asked: PagingT) -> None:
        super().__init__(uv, caller, asked)
        columns = columns_of(asked.runs)
        self.gpas, self.counts = columns[-2:]
        self.addresses = columns[0]

    @property
    def runs(self) -> int:
        """Return how many runs the call has."""
        return len(self.gpas)

    @cached_property
    def located(self) -> I64:
        """Return the place of the slot that holds each run whole, or NOT_FOUND (int64, one per run)."""
        if self.found is None:
            return np.full(self.runs, NOT_FOUND)
        return self.found.slots.locate(self.gpas, self.counts)

    def gfn_sets_of(self, rows: I64) -> GfnSets:
        """Return those of the runs in `rows` that lie in a slot, one set per slot."""
        if self.found is None or not len(rows):
            return []
        inside = rows[self.located[rows] != NOT_FOUND]
        return self.found.slots.gfn_sets(self.gpas, self.counts, inside, self.located)

    def gfn_sets(self, codes: Codes) -> GfnSets:
        """Return the runs that no check has refused (`codes`: int16, one per run), one set per slot."""
        return self.svm.slots.gfn_sets(self.gpas, self.counts, (codes == 0).nonzero()[0], self.located)

    def new_refusals(self, order: tuple[Check, ...]) -> Refusals:
        """Return a collection for the runs of this call that are refused, by `order` or after it."""
        return Refusals(self.gpas, self.counts, order)


def order_is_known(call: Paging[Any]) -> bool:
    """Pass where the order is 16."""
    return bool(call.asked.order == PAGE_ORDER)


def no_flags(call: Paging[PageIn] | Paging[PageOut]) -> bool:
    """Pass where no flag is set."""
    return call.asked.flags == 0


def in_one_slot(call: Paging[Any]) -> Mask:
    """Pass runs that lie whole in one slot, on a page boundary, and overlap no other run."""
    inside: Mask = call.located != NOT_FOUND
    return inside


def not_aborted_or(call: Paging[Any], served: Callable[[Gfns], Mask]) -> Mask:
    """Pass runs of an SVM that is not aborted, and of an aborted one those whose GFNs are all `served`."""
    if not call.is_in(UvVmState.ABORT):
        return np.ones(call.runs, np.bool_)
    passes = in_one_slot(call)
    for gfns in call.gfn_sets_of(np.flatnonzero(passes)):
        passes[gfns.each_row()[~served(gfns)]] = False
    return passes


PLACED: Final[Mapping[str, Callable[[Paging[Any]], bool | Mask]]] = {
    "caller": from_hypervisor,
    "order": order_is_known,
    "flags": no_flags,
    "lpid": names_an_svm,
    "gpa": in_one_slot,
}
"""The checks that UV_PAGE_IN and UV_PAGE_OUT have in common."""


def judged(gfns: Gfns, judgement: Judgement) -> Judgement:
    """Return the judgement of a set; GFNs that are BUSY are told U_BUSY and stay as they are."""
    busy = gfns.slot.marked(gfns.selection, BUSY)
    if np.count_nonzero(busy):
        judgement.code[busy] = UCode.U_BUSY
        judgement.action[busy] = Action.WAIT
        judgement.next_state[busy] = gfns.slot.state[gfns.selection][busy]
    return judgement


# The guest's calls


class GuestCall(Call[AskedT]):
    """An ultracall of a VM's kernel: the caller is the VM that is meant."""

    @property
    def lpid(self) -> Lpid:
        """Return the lpid of the VM that calls; 0 where no VM does."""
        return self.caller.lpid or Lpid(0)


class RangeCall(GuestCall[RangeT]):
    """A guest's call about a range of GFNs."""

    @cached_property
    def gfn_sets(self) -> GfnSets:
        """Return the GFNs, one set per slot; none where they do not all lie in slots."""
        if self.found is None or self.asked.num > self.found.slots.gfns:
            return []
        return self.found.slots.covered(self.asked.gfn, self.asked.num) or []


def from_vm_kernel(call: Call[Any]) -> bool:
    """Pass where a VM's kernel calls."""
    return call.caller.is_vm_kernel


def is_secure(call: Call[Any]) -> bool:
    """Pass a VM that is secure, or was until it was aborted."""
    return call.is_in(UvVmState.SECURE, UvVmState.ABORT)


def is_not_aborted(call: Call[Any]) -> bool:
    """Pass a VM that is not aborted, or never was secure."""
    return not call.is_in(UvVmState.ABORT)


def frame_in_a_slot(call: RangeCall[Any]) -> bool:
    """Pass where the first frame lies in a slot."""
    return call.found is not None and call.found.slots.holding(call.asked.gfn) is not None


def all_in_slots(call: RangeCall[Any]) -> bool:
    """Pass where all frames lie in slots."""
    return call.asked.num == 0 or bool(call.gfn_sets)


SECURE_ONLY: Final[Mapping[str, Callable[[Call[Any]], bool]]] = {
    "caller": from_vm_kernel,
    "secure": is_secure,
    "aborted": is_not_aborted,
}
"""The checks that every call of an SVM begins with."""
RANGE: Final[Mapping[str, Callable[[RangeCall[Any]], bool]]] = {
    **SECURE_ONLY,
    "gfn": frame_in_a_slot,
    "num": all_in_slots,
}
"""The checks that UV_SHARE_PAGE and UV_UNSHARE_PAGE have in common."""
