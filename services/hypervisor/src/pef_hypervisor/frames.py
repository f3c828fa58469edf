"""This side's columns: what the Hypervisor knows of each GFN, two bytes in all.

| column | holds |
|---|---|
| `state` | the state word: N, S, P or H |
| `marks` | MOVING, TOUCHED, REPLACED, CARRIED |

What must always be true of them is told by the functions of `pef_hypervisor.invariants`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from pef_hypervisor.designs.rules import Rules
from pef_hypervisor.gate import Gate
from pef_kit.columns import GfnSet, Slot, SlotMap
from pef_kit.core.life import Life
from pef_kit.operations import Operation
from pef_kit.parts import copied
from pef_kit.spans import I64, U8, Mask, Selection, spread
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import PAGE_SIZE, Gfn, Lpid, RealAddress, SlotId
from pef_protocol.states import HvGfnState, HvVmState

MOVING: Final = 1
"""A call has the GFN in flight: every other call waits, or is told busy."""
TOUCHED: Final = 2
"""The normal page has bytes; one without reads as zero and costs nothing."""
REPLACED: Final = 4
"""The normal page came in place of one that was in secure memory; it is scrubbed at reset."""
CARRIED: Final = 8
"""The GFN's bytes went to the Ultravisor by UV_PAGE_IN."""


class VmSlot(Slot):
    """The columns of one memory slot, and the place in real memory at which its normal pages stand."""

    def __init__(self, slot_id: SlotId, first: Gfn, count: int, base: RealAddress) -> None:
        super().__init__(slot_id, first, count)
        self.base = base
        self.registered = False
        """The Ultravisor knows the slot."""
        self.flights = 0
        """Calls that have GFNs of the slot in flight."""
        self.whole_in_flight = False
        """One of them has every GFN in flight, whatever the marks say."""

    def marked(self, chosen: Selection, bit: int) -> Mask:
        """Tell which of the chosen GFNs bear `bit`."""
        bearing = super().marked(chosen, bit)
        if self.whole_in_flight and bit & MOVING:
            bearing[:] = True
        return bearing

    def places(self, offsets: I64) -> I64:
        """Return the real addresses (bytes) of the normal pages at `offsets` (pages)."""
        return offsets * PAGE_SIZE + self.base

    def counted(self, state: HvGfnState) -> int:
        """Count the GFNs in `state`."""
        return sum(int(np.count_nonzero(self.state[block] == state)) for block in self.blocks())

    def where(self, bit: int, part: slice | None = None) -> Iterator[I64]:
        """Yield the offsets (pages) of the GFNs, of all or of a part, that bear `bit`, block by block."""
        for block in self.marked_blocks(part):
            if len(offsets := np.flatnonzero(self.marked(block, bit)) + block.start):
                yield offsets

    @property
    def moving(self) -> bool:
        """Tell whether a GFN of the slot is in flight, as the columns say; `flights` is what calls say."""
        return self.whole_in_flight or any(
            bool(self.marked(block, MOVING).any()) for block in self.marked_blocks()
        )


Batch: TypeAlias = Sequence[tuple[VmSlot, slice]]
"""Parts of slots that are treated at once."""


def is_in(states: U8, wanted: tuple[HvGfnState, ...]) -> Mask:
    """Mark the elements of `states` that are one of `wanted`: a comparison each, faster than a lookup."""
    found: Mask = np.zeros(len(states), np.bool_)
    for state in wanted:
        found |= states == np.uint8(state)
    return found


def picked(gfns: GfnSet[VmSlot], mask: Mask) -> I64:
    """Return the offsets (pages) of those GFNs of `gfns` that `mask` (one a GFN, in order) marks."""
    if len(gfns.offsets) == 1:
        offsets: I64 = mask.nonzero()[0] + gfns.offsets[0]
        return offsets
    return spread(gfns.offsets, gfns.counts, 1)[mask]


@dataclass(slots=True)
class Vm:
    """One VM, as its owner keeps it.

    `must_abort`: its H_SVM_INIT_START failed, or its SVM was ended in part; only H_SVM_INIT_ABORT and reset
    lead on. `abort_due`: its H_SVM_INIT_START was denied, which changed nothing, so that the Ultravisor may
    yet send H_SVM_INIT_ABORT for the SVM that it had begun. `must_reset`: the outcome of a call to the
    Ultravisor can't be had, or what was begun could not be taken back; only reset and destroy lead on.
    """

    lpid: Lpid
    rules: Rules
    secure_guest: bool
    radix: bool
    incarnation: Incarnation
    """The name of this VM's life at this side: no other VM has it, before or after."""
    state: HvVmState = HvVmState.NORMAL
    must_abort: bool = False
    abort_due: bool = False
    must_reset: bool = False
    svm_incarnation: Incarnation | None = None
    """The SVM that the last H_SVM_INIT_START was for, as the Ultravisor names it."""
    next_svm: Incarnation | None = None
    """The earliest SVM that may begin: what the lpid was when the last UV_SVM_TERMINATE was answered."""
    slots: SlotMap[VmSlot] = field(default_factory=SlotMap)
    gate: Gate = field(default_factory=Gate)
    life: Life = field(default_factory=lambda: Life("the VM"))
    """Ends with the VM."""
    in_epoch: int = 0
    """Of the open operations, those that end with the epoch."""

    def copied(self) -> Operation["Vm"]:
        """Return a copy with copies of the slots; others may act between two parts of it."""
        other = copy(self)
        other.gate = self.gate.copied()
        other.slots = SlotMap()
        for slot in (yield from copied(self.slots)):
            other.slots.add(slot)
        return other

    @property
    def started(self) -> bool:
        """Tell whether its H_SVM_INIT_START is done, and nothing ended its SVM since."""
        return self.state is not HvVmState.NORMAL and not self.must_abort

    @property
    def moving(self) -> bool:
        """Tell whether a call has a GFN of the VM in flight."""
        return any(slot.moving for slot in self.slots)


@dataclass(slots=True)
class DevicePool:
    """The device pages that stand for secure pages: `held` by GFNs, `reserved` for GFNs in flight."""

    size: int
    held: int = 0
    reserved: int = 0
    leaving: int = 0
    """Of those that are held: on their way back, once UV_PAGE_OUT is answered."""

    @property
    def free(self) -> int:
        """Return how many device pages nobody has."""
        return self.size - self.held - self.reserved

    @property
    def used(self) -> int:
        """Return how many device pages are held or reserved."""
        return self.held + self.reserved

    def take(self, pages: int) -> None:
        """Give `pages` to GFNs; the caller has made sure that they are free."""
        self.held += pages

    def give_back(self, pages: int) -> None:
        """Take back what GFNs held."""
        self.held -= pages

    @contextmanager
    def freeing(self, pages: int) -> Iterator[None]:
        """Expect `pages` back while their GFNs are on their way out."""
        self.leaving += pages
        try:
            yield
        finally:
            self.leaving -= pages

    @contextmanager
    def reserving(self, pages: int) -> Iterator["Reservation"]:
        """Keep `pages` for GFNs in flight, until they have landed."""
        reservation = Reservation(self, pages)
        self.reserved += pages
        try:
            yield reservation
        finally:
            self.reserved -= reservation.pages


@dataclass(slots=True)
class Reservation:
    """Device pages that are reserved and not yet held."""

    pool: DevicePool
    pages: int

    def keep(self, pages: int) -> None:
        """Turn `pages` of them into held ones."""
        self.pages -= pages
        self.pool.reserved -= pages
        self.pool.held += pages
