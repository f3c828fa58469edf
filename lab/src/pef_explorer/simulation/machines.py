"""Both machines with several VMs in one process, and the actors' actions as operations of theirs."""

import hashlib
from typing import Any, Final

import numpy as np

from pef_explorer.actions.names import ActionName
from pef_explorer.machines import operations
from pef_explorer.machines.pair import Pair
from pef_explorer.machines.small_esm import Step, measured, not_as_promised, phases, steps_for
from pef_explorer.machines.small_memory import HeapFrames, HeapMemory, KnownBytesSealer
from pef_explorer.plan import Plan
from pef_explorer.simulation.events import GUEST, SIZE, Seed, Start, token_of
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.checks import refuse
from pef_kit.core.effects import Operation
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.http import Caller, Role
from pef_protocol.identity import instance_of
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, Lpid
from pef_protocol.states import HvVmState, UvVmState
from pef_protocol.ultracalls import Esm
from pef_ultravisor.checks import GuestCall
from pef_ultravisor.from_guest.esm import CHECKS, enter
from pef_ultravisor.state import Capacity, Ultravisor

SEEN_BYTES: Final = 16
"""Bytes of an access: a token, and as many that are zero in every page that is not encrypted."""
ENTRY: Final = Esm(Gpa(PAGE_SIZE), Gpa(PAGE_SIZE))
BY_HYPERVISOR: Final = frozenset(ActionName) - frozenset(GUEST) | {ActionName.REBOOT}
"""Actions that the Hypervisor does for a VMM."""
SPARE: Final = 2
"""Normal memory beyond what the VMs have, in VMs: what one left is not always in one piece."""
MACHINE_KEY: Final = b"what this machine's key is made of"


class Machines(Pair[HeapMemory]):
    """An Ultravisor and a Hypervisor with `WORLD.vms` VMs; it is the wire between them, too.

    An lpid is given to the next VM as soon as no VM has it.
    """

    def __init__(self, seed: Seed) -> None:
        self._seed = seed.number
        self._drawn = 0
        self._design = seed.design
        self.lpid_in_replacement: int | None = None
        """The lpid of the VM that is being destroyed and made anew: one at a time."""
        super().__init__()
        self._good = steps_for(Plan(seed.design, SIZE.image, SIZE.plug))
        self._bad = tuple(not_as_promised if step is measured else step for step in self._good)

    def new_memory(self) -> HeapMemory:
        """Return normal memory that nobody has used."""
        memory = HeapMemory((SIZE.vms + SPARE) * SIZE.pages)
        words: np.ndarray[Any, np.dtype[np.uint64]] = memory.pages.view(np.uint64)
        self.words = words[:, : SEEN_BYTES // 8]
        """Token and zeroes of each page of normal memory (pages x 2, uint64), as a view."""
        return memory

    def new_ultravisor(self) -> Ultravisor:
        """Return an Ultravisor as it starts."""
        return Ultravisor(
            Capacity(SIZE.secure_pages, self.memory.size),
            self._entropy,
            frames=HeapFrames,
            sealer=KnownBytesSealer,
            machine_key=MACHINE_KEY,
        )

    def new_hypervisor(self) -> Hypervisor:
        """Return a Hypervisor as it starts, with `memory`."""
        hypervisor = Hypervisor(
            self.memory,
            device_pages=SIZE.secure_pages,
            digest_key=b"simulation",
            instance=instance_of(self._entropy(16)),
        )
        hypervisor.store.lpids = range(1, SIZE.vms + 1)
        return hypervisor

    def _entropy(self, count: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_128(f"{self._seed} {self._drawn}".encode()).digest(count)

    # The actors

    def act(self, start: Start) -> tuple[Operation[Any], Side]:
        """Return the operation by which an action is done, and the side that does it."""
        lpid = Lpid(start.vm + 1)
        if start.action in BY_HYPERVISOR:
            return self._by_the_host(start, lpid), Side.HYPERVISOR
        if start.action in {ActionName.ESM, ActionName.BAD_ESM}:
            steps = self._good if start.action is ActionName.ESM else self._bad
            return self._enter(lpid, steps), Side.ULTRAVISOR
        if start.action not in {ActionName.LOAD, ActionName.STORE}:
            return self._ultracall(start, lpid), Side.ULTRAVISOR
        secure = self.runs_secure(lpid)
        side = Side.ULTRAVISOR if secure else Side.HYPERVISOR
        if start.action is ActionName.LOAD:
            return operations.load(self, lpid, start.gfn, SEEN_BYTES, secure=secure), side
        return operations.store(self, lpid, start.gfn, _content(start), secure=secure), side

    def _ultracall(self, start: Start, lpid: Lpid) -> Operation[Reply]:
        match start.action:
            case ActionName.SHARE:
                return operations.share(self, lpid, start.gfn, start.pages)
            case ActionName.UNSHARE:
                return operations.unshare(self, lpid, start.gfn, start.pages)
        return operations.unshare_all(self, lpid)

    def _by_the_host(self, start: Start, lpid: Lpid) -> Operation[Any]:
        match start.action:
            case ActionName.HOST_WRITE:
                return operations.host_write(self, lpid, start.gfn, _content(start))
            case ActionName.HOT_ADD:
                return operations.plug(self, lpid, range(SIZE.gfns, SIZE.pages))
            case ActionName.HOT_REMOVE:
                return operations.unplug(self, lpid)
            case ActionName.UNMAP:
                return operations.unmap(self, lpid, start.gfn, start.pages)
            case ActionName.REBOOT | ActionName.RESET:
                return self.hv.reset(lpid)
            case ActionName.REPLACE:
                return self._replace(lpid)
        length = (start.pages - 1) * PAGE_SIZE + SEEN_BYTES
        return operations.host_read(self, lpid, start.gfn, length)

    def make_vm(self) -> Operation[Outcome]:
        """Create a VM with its first slot."""
        return operations.create(self, self._design, SIZE.gfns)

    def _replace(self, lpid: Lpid) -> Operation[Outcome]:
        """Destroy a VM, and give its lpid to another one."""
        if self.lpid_in_replacement is not None:
            return Outcome(Errno.EBUSY, "another VM is being replaced")
        self.lpid_in_replacement = lpid
        try:
            return (yield from operations.replace(self, lpid, self._design, SIZE.gfns))
        finally:
            self.lpid_in_replacement = None

    def _enter(self, lpid: Lpid, steps: tuple[Step, ...]) -> Operation[Reply]:
        """Answer UV_ESM as the service does, by the small steps."""
        call = GuestCall(self.uv, Caller(Role.GUEST, lpid), ENTRY)
        refused = CHECKS.first_failing(call)
        if refused:
            return refuse(refused)
        if call.found is not None:
            return Reply(UCode.U_SUCCESS)
        svm = self.uv.new_svm(lpid)
        failure = yield from enter(self.uv, svm, phases(self.uv, svm, steps))
        return failure or Reply(UCode.U_SUCCESS)

    # What an observer sees

    def runs_secure(self, lpid: int) -> bool:
        """Tell whether the VM runs under the Ultravisor."""
        svm = self.uv.svm(lpid)
        return svm is not None and svm.state is UvVmState.SECURE

    def life(self, lpid: int) -> str:
        """Tell whether both sides list the VM as "secure", or as "normal", and it runs; else "neither"."""
        vm, svm = self.hv.store.vms.get(lpid), self.uv.svm(lpid)
        if vm is None or vm.must_reset:
            return "neither"
        if svm is None:
            return "normal" if vm.state is HvVmState.NORMAL and not vm.abort_due else "neither"
        both = svm.state is UvVmState.SECURE and vm.state is HvVmState.SECURE
        return "secure" if both else "neither"

    def normal_page(self, vm: int, gfn: int) -> int | None:
        """Return which page of normal memory belongs to a GFN, or None where it lies in no slot."""
        owner = self.hv.store.vms.get(vm + 1)
        slot = owner.slots.holding(gfn) if owner else None
        return None if slot is None else (slot.base - NORMAL_BASE >> PAGE_ORDER) + gfn - slot.first


def _content(start: Start) -> bytes:
    """Return the token that an action writes, as bytes."""
    return token_of(start).to_bytes(8, "little")
