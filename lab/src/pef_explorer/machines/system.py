"""Both machines in one process, with one small VM: they can be observed, saved and put back.

No HTTP, no thread, no clock. What one machine asks, the other's own handler answers, when the explorer lets
it. A `Snapshot` is a plain value: it can be pickled and put back in another process.
"""

import hashlib
from typing import Any, Final, NamedTuple

import numpy as np

from pef_explorer.checkpoints import hypervisor as hv_side
from pef_explorer.checkpoints import ultravisor as uv_side
from pef_explorer.machines.open_call import OpenCall, run_to_end
from pef_explorer.machines.planned import PlannedPair
from pef_explorer.machines.small_esm import Entering, steps_for
from pef_explorer.machines.small_memory import KNOWN_BYTES, HeapFrames, HeapMemory, KnownBytesSealer
from pef_explorer.plan import Plan
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.outcome import Errno
from pef_hypervisor.state import Vm
from pef_kit.core.effects import Operation
from pef_kit.core.hello import Epochs
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.identity import instance_of
from pef_protocol.quantities import Lpid
from pef_ultravisor.boot.image import EsmFailure
from pef_ultravisor.gfn.columns import FrameSlot
from pef_ultravisor.state import Capacity, Svm, Ultravisor

MACHINE_KEY: Final = b"what this machine's key is made of"
LPID: Final = Lpid(1)
ROOM: Final = 64
"""Pages of secure memory: more than the VM has, so nothing is evicted."""


class SuspendedEsm(NamedTuple):
    """A UV_ESM between two phases: who makes it, how far it is, and the failure that it goes back with."""

    vcpu: int
    place: int
    failure: tuple[int, str] | None


class Snapshot(NamedTuple):
    """Both machines while no operation is alive, with the bytes by which pages are known."""

    uv: uv_side.UvCheckpoint
    hv: hv_side.HvCheckpoint
    normal: bytes
    frames: tuple[tuple[int, bytes], ...]
    generation: int
    suspended: SuspendedEsm | None
    starts: tuple[int, int]
    epoch: int


class System(PlannedPair):
    """The machines of one plan. It is the wire between them, too."""

    slots = 8
    """More than the calls and copies that a plan has: a session is made anew whenever a state is put back."""

    def __init__(self, plan: Plan) -> None:
        self.generation = 0
        """SVMs made so far: each has keys of its own."""
        super().__init__(plan)
        self.steps = steps_for(plan)
        self.entering: Entering | None = None
        self._run(self.introduce())
        self._run(self.make_vm())

    def new_memory(self) -> HeapMemory:
        """Return normal memory that nobody has used."""
        return HeapMemory(self.plan.pages)

    def new_ultravisor(self) -> Ultravisor:
        """Return an Ultravisor as it starts."""
        self._uv_spares = uv_side.UvSpares()
        generation, self.generation = self.generation, 0  # the same start draws the same instance id
        ultravisor = Ultravisor(
            Capacity(ROOM, self.memory.size),
            self._entropy,
            frames=HeapFrames,
            sealer=KnownBytesSealer,
            machine_key=MACHINE_KEY,
        )
        self.generation = generation
        return ultravisor

    def new_hypervisor(self) -> Hypervisor:
        """Return a Hypervisor as it starts, with `memory`."""
        self._hv_spares = hv_side.HvSpares()
        instance = instance_of(bytes([self.starts[Side.HYPERVISOR]] * 16))
        hypervisor = Hypervisor(self.memory, device_pages=ROOM, digest_key=b"explorer", instance=instance)
        hypervisor.store.lpids = range(LPID, LPID + 1)
        return hypervisor

    def _entropy(self, count: int) -> bytes:
        drawn = f"{self.starts[Side.ULTRAVISOR]} {self.generation} {count}"
        return hashlib.shake_128(drawn.encode()).digest(count)

    def _run(self, operation: Operation[Any]) -> Any:
        outcome = run_to_end(OpenCall(operation, self, Side.HYPERVISOR))
        if isinstance(outcome, Exception) or (outcome is not None and outcome.errno is not Errno.OK):
            raise AssertionError(outcome)
        return outcome

    # Snapshots

    def snapshot(self, suspended: SuspendedEsm | None = None) -> Snapshot:
        """Save the state of both machines; no operation may be alive."""
        svm = self.svm
        frames = tuple((slot.slot_id, known_of(slot).tobytes()) for slot in svm.slots) if svm else ()
        return Snapshot(
            uv_side.checkpoint(self.uv),
            hv_side.checkpoint(self.hv),
            self.memory.known.tobytes(),
            frames,
            self.generation,
            suspended,
            (self.starts[Side.ULTRAVISOR], self.starts[Side.HYPERVISOR]),
            self.epochs.count,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Put both machines back; every operation has been closed."""
        self._be_of(*snapshot.starts)
        self.epochs = Epochs(self.uv.instance, snapshot.epoch - 1)
        self.epochs.take_over(self.hv.store.instance)
        self.mapped = self.memory
        uv_side.restore(self.uv, snapshot.uv, self._uv_spares)
        hv_side.restore(self.hv, snapshot.hv, self._hv_spares)
        self.memory.known[:] = np.frombuffer(snapshot.normal, np.uint8).reshape(-1, KNOWN_BYTES)
        self.generation = snapshot.generation
        self.begin()
        self.entering = None
        svm = self.svm
        if svm is None:
            return
        for slot_id, known in snapshot.frames:
            slot = svm.slots.get(slot_id)
            if slot is not None:
                known_of(slot)[:] = np.frombuffer(known, np.uint8).reshape(-1, KNOWN_BYTES)
        if snapshot.suspended is not None:
            _, place, failure = snapshot.suspended
            failed = EsmFailure(UCode(failure[0]), failure[1]) if failure else None
            self.entering = Entering(self.uv, svm, self.steps, place, failed)

    def _be_of(self, *starts: int) -> None:
        """Have the machines of those starts: each run of a side has an instance id of its own."""
        for side, number in zip((Side.ULTRAVISOR, Side.HYPERVISOR), starts, strict=True):
            if self.starts[side] != number:
                self.starts[side] = number - 1
                self.start(side)

    @property
    def vm(self) -> Vm | None:
        """Return the VM, or None while there is none."""
        return self.hv.store.vms.get(LPID)

    @property
    def svm(self) -> Svm | None:
        """Return the VM's SVM, or None."""
        return self.uv.svms.get(LPID)

    # The beginning of UV_ESM

    def enter(self) -> Entering:
        """Begin a UV_ESM as the service does, past the checks of its arguments."""
        self.generation += 1
        self.entering = Entering.begin(self.uv, self.uv.new_svm(LPID), self.steps)
        return self.entering

    def normal_page(self, gfn: int) -> int | None:
        """Return which page of normal memory belongs to `gfn` as the Hypervisor keeps it, or None."""
        return self.page_of(LPID, gfn)


def known_of(slot: FrameSlot) -> Any:
    """Return the bytes by which the frames of a slot are known (GFNs x KNOWN_BYTES, uint8)."""
    return slot.frames.known  # type: ignore[attr-defined]
