"""The Ultravisor and its SVMs: the pure objects that own this side. No HTTP, no clock, no randomness.

An `Ultravisor` holds all that this side must not forget: partition-table entries, SVMs with their slots and
columns, the machine's key. What calls do to it stands in `from_hypervisor` and `from_guest`.
"""

import hashlib
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pef_kit.core.columns import SlotMap
from pef_kit.core.effects import Offload, Operation
from pef_kit.core.life import Life, keep_nothing
from pef_kit.core.parts import copied, part_by_part
from pef_kit.core.runs import Selection
from pef_protocol.designs import Design, DesignName
from pef_protocol.identity import Incarnation, instance_of
from pef_protocol.quantities import Lpid
from pef_protocol.states import UvGfnState, UvVmState
from pef_ultravisor.designs import DESIGNS, DesignSettings
from pef_ultravisor.gfn.columns import RESERVED, FrameSlot
from pef_ultravisor.machine_key import MachineKey
from pef_ultravisor.memory.frames import Frames
from pef_ultravisor.memory.normal_pages import NormalPages
from pef_ultravisor.memory.sealing import FIXED_BYTES, KEY_BYTES, Sealer

DIGEST_KEY_BYTES: Final = 32
INSTANCE_BYTES: Final = 16
AT_ONCE: Final = 64
"""Pages whose frames are scrubbed without a thread."""

Entropy = Callable[[int], bytes]


@dataclass(eq=False, slots=True)
class Svm:
    """A VM that has made UV_ESM: all that the Ultravisor keeps of it."""

    lpid: Lpid
    sealer: Sealer
    life: Life = field(default_factory=lambda: Life("the SVM"))
    """What operations on this SVM are leased on: over once it is terminated, or its epoch ends."""
    state: UvVmState = UvVmState.ACTIVE
    design: DesignName = Design.TRACKED
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
    def settings(self) -> DesignSettings:
        """Return what the design of this SVM's Hypervisor means on this side."""
        return DESIGNS[self.design]

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

    def release(self, slot: FrameSlot) -> None:
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
        return slot.count - slot.absent if self.whole else slot.imported - slot.imported_absent


@dataclass(frozen=True, slots=True)
class Capacity:
    """How large the machine is: secure memory in pages, normal memory in bytes."""

    secure_pages: int
    normal_bytes: int


class Ultravisor:
    """The trusted side. `entropy(n)` gives n random bytes: the same bytes make the same machine.

    `frames(n)` makes the n frames of a slot, `sealer` what seals the pages of an SVM.
    `machine_key` (32 bytes or more) is what the machine's key pair is made of, if it outlives this run.
    """

    def __init__(
        self,
        capacity: Capacity,
        entropy: Entropy,
        *,
        designs: frozenset[str] = frozenset(DESIGNS),
        frames: Callable[[int], Frames] = Frames,
        sealer: Callable[[Lpid, bytes, bytes], Sealer] = Sealer,
        machine_key: bytes | None = None,
    ) -> None:
        self.capacity = capacity
        self.entropy = entropy
        self.designs = designs
        self.frames = frames
        self.sealer = sealer
        self.machine_key = MachineKey.generate(machine_key or entropy(KEY_BYTES))
        self.pates: dict[Lpid, tuple[int, int]] = {}
        self.svms: dict[Lpid, Svm] = {}
        self.dying: list[Svm] = []
        """SVMs that have ended and are not scrubbed: their frames and normal pages count until they are."""
        self.epoch = Life("the epoch")
        """What every operation is leased on: one Hypervisor's time at this Ultravisor."""
        self.normal_pages = NormalPages(capacity.normal_bytes)
        self.clock_hand: tuple[int, int, int] = (0, 0, 0)
        """Where the search for pages not used lately goes on: lpid, first GFN of the slot, offset."""
        self.gfns_a_message = 0
        """Most GFNs that a message of UV_ESM asks for; 0: no bound. 1 is how it was done in 2020."""
        self.reserved = 0
        """Pages that have been given room in secure memory and do not count as resident yet."""
        self._digest_key = entropy(DIGEST_KEY_BYTES)
        self.instance = instance_of(entropy(INSTANCE_BYTES))
        self.incarnations: dict[Lpid, Incarnation] = {}
        """Which life of its VM each lpid with an entry stands for; see `renew`."""
        self._minted = 0
        self.at_end_of: Callable[[Incarnation], None] = keep_nothing
        """Called with each incarnation that ends: for who keeps something of it."""

    def svm(self, lpid: int | None) -> Svm | None:
        """Return the SVM of that lpid, or None."""
        return self.svms.get(Lpid(lpid)) if lpid is not None else None

    def knows(self, lpid: int) -> bool:
        """Tell whether the Hypervisor has written a partition-table entry for `lpid`."""
        return lpid in self.pates or lpid in self.svms

    def incarnation_of(self, lpid: int) -> Incarnation | None:
        """Return the incarnation of the VM that has `lpid` now, or None where it has no entry."""
        return self.incarnations.get(Lpid(lpid))

    def renew(self, lpid: Lpid) -> None:
        """Give `lpid` an incarnation that nothing had before: what names the one before acts no more.

        Order: where an entry is written for an lpid that has none, and each time an SVM of that lpid ends.
        """
        self.retire(lpid)
        self._minted += 1
        self.incarnations[lpid] = Incarnation(self.instance, self._minted)

    def retire(self, lpid: Lpid) -> None:
        """Take its incarnation from `lpid`: the VM that had it has ended."""
        ended = self.incarnations.pop(lpid, None)
        if ended is not None:
            self.at_end_of(ended)

    def new_svm(self, lpid: Lpid) -> Svm:
        """Make the SVM object of a VM that begins to become secure."""
        sealer = self.sealer(lpid, self.entropy(KEY_BYTES), self.entropy(FIXED_BYTES))
        svm = self.svms[lpid] = Svm(lpid, sealer, Life(f"the SVM of lpid {lpid}", self.incarnation_of(lpid)))
        return svm

    @property
    def holders(self) -> list[Svm]:
        """Return every SVM that holds frames and normal pages, dying ones included."""
        return [*self.svms.values(), *self.dying]

    @property
    def resident(self) -> int:
        """Count the pages in secure memory, as the Hypervisor counts its device pages."""
        return sum(svm.resident for svm in self.holders)

    @property
    def free(self) -> int:
        """Count the pages of secure memory that are neither resident nor promised."""
        return self.capacity.secure_pages - self.resident - self.reserved

    @property
    def everything_fits(self) -> bool:
        """Tell whether every GFN of every SVM could be resident at once: then nobody need count."""
        gfns = sum(slot.count for svm in self.holders for slot in svm.held_slots)
        return gfns + self.reserved <= self.capacity.secure_pages

    def has_room(self, pages: int, *, new: bool = False) -> bool:
        """Tell whether `pages` more may become resident: of the SVMs' pages, or `new` ones being plugged."""
        return (self.everything_fits and not new) or pages <= self.free

    def unreserve(self, slot: FrameSlot, chosen: Selection) -> None:
        """Keep no room any more for the chosen GFNs: they are here, or won't come."""
        self.reserved -= int(np.count_nonzero(slot.marked(chosen, RESERVED)))
        slot.unmark(chosen, RESERVED)

    def release_slot(self, svm: Svm, slot: FrameSlot) -> Operation[None]:
        """Take a slot out: no call finds it from now on. Free the normal pages that it mapped, and scrub it.

        Two may do so at once: each returns when nothing of the slot is left.
        Invariant: an open call that still knows the slot finds no normal page in it.
        """
        svm.release(slot)
        yield from part_by_part([slot], self._free_normal_pages)
        if slot.count <= AT_ONCE:
            slot.frames.scrub(0, slot.count)
        else:
            yield Offload(lambda: slot.frames.scrub(0, slot.count))
        svm.leaving.pop(slot, None)

    def _free_normal_pages(self, slot: FrameSlot, part: slice) -> None:
        for block in slot.blocks_of(part):
            used = (
                np.flatnonzero(slot.state[block]) + block.start
            )  # none backs a secure GFN, whose state is 0
            if len(used):
                self.normal_pages.release(slot.normal[used])
                slot.normal[used] = 0
                slot.put(used, UvGfnState.SECURE)

    def end(self, svm: Svm) -> None:
        """End an SVM: no call finds it any more, and none of its operations begins anything more."""
        if svm.life.alive:
            svm.life.end()
            del self.svms[svm.lpid]
            self.dying.append(svm)
            self.renew(svm.lpid)

    def scrub(self, svm: Svm) -> Operation[None]:
        """Take an SVM's slots, frames, records and files away, once it has ended and no byte of it moves.

        Two may do so at once: each returns when nothing of the SVM is left.
        """
        if svm not in self.dying:
            return
        for slot in svm.held_slots:
            yield from self.release_slot(svm, slot)
        svm.forget_files()
        if svm in self.dying:
            self.dying.remove(svm)

    def copied(self) -> Operation["Ultravisor"]:
        """Return a copy of all that `digest` and `invariants` look at; frames and keys are the same.

        Others may act between two parts of it: it is of one moment only where nobody did.
        """
        other = copy(self)
        other.pates = dict(self.pates)
        copies: dict[Svm, Svm] = {}
        for svm in self.holders:
            copies[svm] = yield from svm.copied()
        other.svms = {lpid: copies[svm] for lpid, svm in self.svms.items() if svm in copies}
        other.dying = [copies[svm] for svm in self.dying if svm in copies]
        other.normal_pages = yield from self.normal_pages.copied()
        return other

    def digest(self) -> str:
        """Return a digest of all that this side must not forget, contents included.

        Trust: it is keyed with a key of this process, so that it tells nothing of what a page holds.
        """
        digest = hashlib.blake2b(key=self._digest_key, digest_size=32)
        digest.update(repr(sorted(self.pates.items())).encode())
        for svm in [self.svms[lpid] for lpid in sorted(self.svms)] + self.dying:
            record = (svm.lpid, svm.state, str(svm.design), svm.sealer.used, sorted(svm.handed_out.items()))
            digest.update(repr(record).encode())
            for slot in svm.slots:
                slot.digest_into(digest)
        return digest.hexdigest()
