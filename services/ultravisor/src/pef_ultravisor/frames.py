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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pef_kit.columns import Portion, Slot, SlotMap
from pef_kit.core.lease import Life
from pef_kit.spans import I64, U8, U64, Mask, Selection, among, breaks, stretches, words_of
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, Lpid, SlotId
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_ultravisor.lifecycle import IS_BACKED, IS_TRANSIENT
from pef_ultravisor.sealing import TAG_BYTES, Sealer
from pef_ultravisor.secure_memory import Frames

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
        self.normal: U64 = np.zeros(count, np.uint64)
        self.counter: U64 = np.zeros(count, np.uint64)
        self.tag: U8 = np.zeros((count, TAG_BYTES), np.uint8)

    def scrub(self, offsets: I64) -> None:
        """Zero the frames at `offsets` (pages from the slot's start, ascending) that were filled."""
        filled = offsets[self.marked(offsets, FILLED)]
        if not len(filled):
            return
        for first, count in zip(*breaks(len(filled), (filled, 1)), strict=True):
            self.frames.scrub(int(filled[first]), int(count))
        self.unmark(offsets, FILLED)

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
        for at in np.flatnonzero(IS_BACKED[self.state]):
            digest.update(self.normal[at].tobytes())
        sealed = self.state == S.PAGEDOUT
        digest.update(self.counter[sealed].tobytes() + self.tag[sealed].tobytes())
        for first, count in zip(*stretches(self.marked(slice(None), FILLED)), strict=True):
            digest.update(self.frames.at(int(first), int(count) * PAGE_SIZE).data)


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
        if self.whole:
            return sum(slot.count - int(np.count_nonzero(slot.state)) for slot in self.slots)
        return sum(int(np.count_nonzero(held_pages(slot))) for slot in self.slots)


def held_pages(slot: FrameSlot) -> Mask:
    """Tell which GFNs of a VM that is becoming secure are in secure memory: imported and not moved out."""
    held: Mask = among(slot.state, S.SECURE) & slot.marked(slice(None), IMPORTED)
    return held


def page_runs(portions: "list[Portion[FrameSlot]]") -> PageRuns:
    """Return the GFNs of `portions` as the runs of a hypercall."""
    starts = [portion.offsets + portion.slot.first << PAGE_ORDER for portion in portions]
    counts = [portion.counts for portion in portions]
    return PageRuns(words_of(np.concatenate(starts), np.concatenate(counts)))


def narrowed(portion: Portion[FrameSlot], mask: Mask) -> Portion[FrameSlot] | None:
    """Return the GFNs of `portion` that `mask` (one a page) picks, as runs, or None where it picks none."""
    picked = np.count_nonzero(mask)
    if not picked:
        return None
    if picked == len(mask) and len(portion.offsets) == 1:
        return portion
    return portion_at(portion.slot, portion.places()[mask])


def portion_at(slot: FrameSlot, offsets: I64) -> Portion[FrameSlot]:
    """Return the GFNs at `offsets` of a slot (ascending, at least one) as a portion of runs."""
    firsts, counts = breaks(len(offsets), (offsets, 1))
    return Portion(slot, np.arange(len(firsts)), offsets[firsts], counts)


def broken_invariants(svm: Svm) -> Iterator[str]:
    """Yield a sentence for each invariant of an SVM's columns that does not hold."""
    for slot in svm.slots:
        state, everything = slot.state, slice(None)
        filled = slot.marked(everything, FILLED)
        backed = slot.normal != 0
        sealed = slot.counter != 0
        rules: dict[str, Mask] = {
            "paged out without a sealing record": (state == S.PAGEDOUT) & ~sealed,
            "paged out, yet its frame is not scrubbed": (state == S.PAGEDOUT) & filled,
            "shared, yet its frame is not scrubbed": np.isin(
                state, (S.SHARED, S.SHARED_INV, S.SHARED_IMPLICIT, S.SHARED_IMPLICIT_INV)
            )
            & filled,
            "mapped to no normal page": np.isin(
                state, (S.SHARED, S.SHARED_IMPLICIT, S.PSEUDO_SHARED, S.HV_SHARED)
            )
            & ~backed,
            "mapped to a normal page that it may not have": ~IS_BACKED[state] & backed,
        }
        if not svm.open_calls:
            rules["in a transient state while no call is open"] = IS_TRANSIENT[state]
            rules["marked in flight while no call is open"] = slot.marked(everything, IN_FLIGHT | WANTED)
        if svm.state is UvVmState.SECURE:
            rules["marked imported in a secure VM"] = slot.marked(everything, IMPORTED)
        for sentence, wrong in rules.items():
            if wrong.any():
                yield f"lpid {svm.lpid} slot {slot.slot_id}: {int(wrong.sum())} GFNs {sentence}"
