"""The columns that the Ultravisor keeps of each GFN, the SVM they belong to, and what must always hold.

| column | per GFN | kept for |
|---|---|---|
| `state` | uint8 | every GFN; 0 is SECURE |
| `marks` | uint8 | every GFN |
| `normal` | uint64 | GFNs backed by a normal page: its real address |
| `counter`, `tag` | uint64, 16 bytes | paged-out GFNs: the record of their sealing |

The last three are memory that the machine gives only where it is written, so a GFN that was never shared nor
paged out costs two bytes.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from pef_kit.allocation import column, copy_written
from pef_kit.columns import GfnSet, Slot, SlotMap
from pef_kit.core.lease import Life
from pef_kit.operations import Operation
from pef_kit.parts import copied
from pef_kit.spans import I64, U8, U64, Mask, Selection, among, breaks, stretches, words_of
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, Lpid, SlotId
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.gfn.table import IS_BACKED, IS_TRANSIENT
from pef_ultravisor.memory.frames import Frames
from pef_ultravisor.memory.sealing import TAG_BYTES, Sealer

MOVING: Final = 1
"""A thread moves the bytes of this GFN: everybody else is told busy."""
WAITING: Final = 2
"""Our own hypercall for this GFN is outstanding: other vCPUs and UV_PAGE_OUT wait."""
WANTED: Final = 4
"""UV_PAGE_IN may bring this GFN as it is: asked for, and not imported before."""
IMPORTED: Final = 8
"""The Hypervisor gave this page during UV_ESM. Cleared when the VM becomes secure."""
REFERENCED: Final = 16
"""Used since the clock last passed."""
FILLED: Final = 32
"""The frame may hold something other than zeroes."""

PROMISED: Final = 64
"""Room in secure memory is kept for this GFN, which we asked for."""

IN_FLIGHT: Final = MOVING | WAITING


class FrameSlot(Slot):
    """The columns and frames of one memory slot of an SVM; `frames(n)` makes the n frames."""

    def __init__(
        self, slot_id: SlotId, first: Gfn, count: int, frames: Callable[[int], Frames] = Frames
    ) -> None:
        self.frames = frames(count)
        super().__init__(slot_id, first, count)
        self.normal: U64 = column(count, np.uint64)
        self.counter: U64 = column(count, np.uint64)
        self.tag: U8 = column(count, np.uint8, TAG_BYTES)
        self.flights = 0
        """Open calls that have GFNs of the slot in hand; without one none is in flight or between states."""
        self.away = 0
        """GFNs that are not SECURE."""
        self.imported = 0
        """GFNs that bear IMPORTED."""
        self.imported_away = 0
        """Those of them that are not SECURE."""

    def mark(self, chosen: Selection, bit: int) -> None:
        """Set `bit` for the chosen GFNs."""
        if bit & IMPORTED:
            new = ~self.marked(chosen, IMPORTED)
            self.imported += int(np.count_nonzero(new))
            self.imported_away += int(np.count_nonzero(self.state[chosen][new]))
        super().mark(chosen, bit)

    def unmark(self, chosen: Selection, bit: int) -> None:
        """Clear `bit` for the chosen GFNs."""
        if bit & IMPORTED and self.imported:
            old = self.marked(chosen, IMPORTED)
            self.imported -= int(np.count_nonzero(old))
            self.imported_away -= int(np.count_nonzero(self.state[chosen][old]))
        super().unmark(chosen, bit)

    def put(self, chosen: Selection, states: U8 | int) -> None:
        """Give the chosen GFNs their next `states` (one for all, or one each), and count."""
        before = self.state[chosen]
        imported = self.marked(chosen, IMPORTED) if self.imported else None
        self.away -= int(np.count_nonzero(before))
        if imported is not None:
            self.imported_away -= int(np.count_nonzero(before[imported]))
        self.state[chosen] = states
        after = self.state[chosen]
        self.away += int(np.count_nonzero(after))
        if imported is not None:
            self.imported_away += int(np.count_nonzero(after[imported]))

    def scrub(self, offsets: I64) -> None:
        """Zero the frames at `offsets` (pages from the slot's start, ascending) that were filled."""
        filled = offsets[self.marked(offsets, FILLED)]
        if not len(filled):
            return
        for first, count in zip(*breaks(len(filled), (filled, 1)), strict=True):
            self.frames.scrub(int(filled[first]), int(count))
        self.unmark(offsets, FILLED)

    def blank(self) -> Self:
        """Return a copy whose columns are new and zero; the frames are the same."""
        other = super().blank()
        other.normal = column(self.count, np.uint64)
        other.counter = column(self.count, np.uint64)
        other.tag = column(self.count, np.uint8, TAG_BYTES)
        return other

    def copy_part(self, other: Self, part: slice) -> None:
        """Copy a part of the columns; records of sealing only of what is paged out."""
        super().copy_part(other, part)
        for block in self.blocks_of(part):
            copy_written(self.normal[block], other.normal[block])
            if among(self.state[block], S.PAGEDOUT).any():
                other.counter[block] = self.counter[block]
                other.tag[block] = self.tag[block]

    def in_flight(self, chosen: Selection) -> Mask:
        """Tell which of the chosen GFNs another call has in hand."""
        states = self.state[chosen]
        busy: Mask = self.marked(chosen, IN_FLIGHT)
        if np.count_nonzero(states):
            busy |= IS_TRANSIENT[states]
        return busy

    def digest_into(self, digest: "hashlib.blake2b") -> None:
        """Feed columns, records and the contents of filled frames to `digest`."""
        super().digest_into(digest)
        for block in self.blocks():
            state = self.state[block]
            if state.any():
                sealed = among(state, S.PAGEDOUT)
                digest.update(self.normal[block][IS_BACKED[state]].tobytes())
                digest.update(self.counter[block][sealed].tobytes() + self.tag[block][sealed].tobytes())
            for first, count in zip(*stretches(self.marked(block, FILLED)), strict=True):
                digest.update(self.frames.at(block.start + int(first), int(count) * PAGE_SIZE).data)


@dataclass(eq=False, slots=True)
class Svm:
    """A VM that has made UV_ESM: all that the Ultravisor keeps of it."""

    lpid: Lpid
    sealer: Sealer
    life: Life = field(default_factory=lambda: Life("the SVM"))
    """What operations on this SVM are leased on: over once it is terminated, or its epoch ends."""
    state: UvVmState = UvVmState.ACTIVE
    design: Design = Design.TRACKED
    slots: SlotMap[FrameSlot] = field(default_factory=SlotMap)
    files: dict[str, bytearray] = field(default_factory=dict, repr=False)
    """What the ESM blob attached, by name: zeroes as far as it was handed out."""
    handed_out: dict[str, int] = field(default_factory=dict)
    done_outstanding: bool = False
    """Our H_SVM_INIT_DONE has not been answered yet."""
    whole: bool = False
    """Every GFN counts as held: from H_SVM_INIT_DONE on, which gives us what we did not ask for."""
    too_large: bool = False
    """A slot was refused that this machine can never hold."""
    open_calls: int = 0
    leaving: dict[FrameSlot, int] = field(default_factory=dict)
    """Slots that are being taken away, which no call finds, with the pages that they hold resident."""

    @property
    def held_slots(self) -> list[FrameSlot]:
        """Return the slots of which something may be left: those that leave included."""
        return [*self.slots, *self.leaving]

    def copied(self) -> Operation["Svm"]:
        """Return a copy with copies of the slots; others may act between two parts of it."""
        other = copy(self)
        other.handed_out = dict(self.handed_out)
        other.slots, other.leaving = SlotMap(), {}
        staying, leaving = list(self.slots), dict(self.leaving)
        copies = yield from copied([*staying, *leaving])
        for slot in copies[: len(staying)]:
            other.slots.add(slot)
        other.leaving.update(zip(copies[len(staying) :], leaving.values(), strict=True))
        return other

    def let_go(self, slot: FrameSlot) -> None:
        """Have no call find a slot any more; what it holds counts until it is scrubbed."""
        if self.slots.get(slot.slot_id) is slot:
            self.leaving[slot] = self.resident_in(slot)
            self.slots.remove(slot)

    def forget_files(self) -> None:
        """Zero what is attached, and drop it."""
        for content in self.files.values():
            content[:] = bytes(len(content))
        self.files.clear()
        self.handed_out.clear()

    @property
    def resident(self) -> int:
        """Count the pages that this SVM holds in secure memory, as the Hypervisor counts them.

        A page that was never asked for is the Hypervisor's until H_SVM_INIT_DONE.
        """
        return sum(map(self.resident_in, self.slots)) + sum(self.leaving.values())

    def resident_in(self, slot: FrameSlot) -> int:
        """Count those of one slot."""
        return slot.count - slot.away if self.whole else slot.imported - slot.imported_away


def held_pages(slot: FrameSlot, chosen: Selection) -> Mask:
    """Tell which GFNs of a VM that is becoming secure are in secure memory: imported and not moved out."""
    held: Mask = among(slot.state[chosen], S.SECURE) & slot.marked(chosen, IMPORTED)
    return held


def page_runs(gfn_sets: "list[GfnSet[FrameSlot]]") -> PageRuns:
    """Return the GFNs of `gfn_sets` as the runs of a hypercall."""
    starts = [gfns.offsets + gfns.slot.first << PAGE_ORDER for gfns in gfn_sets]
    counts = [gfns.counts for gfns in gfn_sets]
    return PageRuns(words_of(np.concatenate(starts), np.concatenate(counts)))


def narrowed(gfns: GfnSet[FrameSlot], mask: Mask) -> GfnSet[FrameSlot] | None:
    """Return the GFNs of `gfns` that `mask` (one a page) picks, as runs, or None where it picks none."""
    picked = np.count_nonzero(mask)
    if not picked:
        return None
    if picked == len(mask) and len(gfns.offsets) == 1:
        return gfns
    return gfn_set_at(gfns.slot, gfns.each_offset()[mask])


def gfn_set_at(slot: FrameSlot, offsets: I64) -> GfnSet[FrameSlot]:
    """Return the GFNs at `offsets` of a slot (ascending, at least one) as a set."""
    firsts, counts = breaks(len(offsets), (offsets, 1))
    return GfnSet(slot, np.arange(len(firsts)), offsets[firsts], counts)


def broken_invariants(svm: Svm) -> Iterator[str]:
    """Yield a sentence for each invariant of an SVM's columns that does not hold."""
    for slot in svm.slots:
        wrong: Counter[str] = Counter()
        wrong["counted as moved out"] = slot.away - int(np.count_nonzero(slot.state))
        for block in slot.blocks():
            wrong.update(_wrong_in(svm, slot, block))
        for sentence, gfns in wrong.items():
            if gfns:
                yield f"lpid {svm.lpid} slot {slot.slot_id}: {gfns} GFNs {sentence}"


def _wrong_in(svm: Svm, slot: FrameSlot, block: slice) -> dict[str, int]:
    """Count, for each invariant, the GFNs of a block for which it does not hold."""
    state, filled = slot.state[block], slot.marked(block, FILLED)
    backed = slot.normal[block] != 0
    out = among(state, S.PAGEDOUT)
    kept_shared = among(state, S.SHARED, S.SHARED_INV, S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV)
    mapped = among(state, S.SHARED, S.SHARED_IMPLICIT, S.PSEUDO_SHARED, S.HV_SHARED)
    rules: dict[str, Mask] = {
        "paged out without a sealing record": out & (slot.counter[block] == 0) if out.any() else out,
        "paged out, yet its frame is not scrubbed": out & filled,
        "shared, yet its frame is not scrubbed": kept_shared & filled,
        "mapped to no normal page": mapped & ~backed,
        "mapped to a normal page that it may not have": ~IS_BACKED[state] & backed,
    }
    if not svm.open_calls:
        rules["in a transient state while no call is open"] = IS_TRANSIENT[state]
        rules["marked in flight while no call is open"] = slot.marked(block, IN_FLIGHT | WANTED)
    if svm.state is UvVmState.SECURE:
        rules["marked imported in a secure VM"] = slot.marked(block, IMPORTED)
    return {sentence: int(np.count_nonzero(mask)) for sentence, mask in rules.items()}
