"""Both machines with several VMs in one process, and the actors' actions as operations of theirs."""

import hashlib
from typing import Any, Final

import numpy as np

from pef_explorer.actions.names import ActionName
from pef_explorer.actions.operations import PERFORMED, Asked
from pef_explorer.machines.planned import PlannedPair
from pef_explorer.machines.small_esm import Step, measured, not_as_promised, phases, steps_for
from pef_explorer.machines.small_memory import HeapFrames, HeapMemory, KnownBytesSealer
from pef_explorer.plan import Plan
from pef_explorer.simulation.events import SIZE, Seed, Start, token_of
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.checks import refuse
from pef_kit.core.effects import Operation
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.http import Caller, Role
from pef_protocol.identity import instance_of
from pef_protocol.quantities import PAGE_SIZE, Gpa, Lpid
from pef_protocol.states import HvVmState, UvVmState
from pef_protocol.ultracalls import Esm
from pef_ultravisor.checks import GuestCall
from pef_ultravisor.from_guest.esm import CHECKS, enter
from pef_ultravisor.state import Capacity, Ultravisor

SEEN_BYTES: Final = 16
"""Bytes of an access: a token, and as many that are zero in every page that is not encrypted."""
ENTRY: Final = Esm(Gpa(PAGE_SIZE), Gpa(PAGE_SIZE))
SPARE: Final = 2
"""Normal memory beyond what the VMs have, in VMs: what one left is not always in one piece."""
MACHINE_KEY: Final = b"what this machine's key is made of"


class Machines(PlannedPair):
    """An Ultravisor and a Hypervisor with `WORLD.vms` VMs; it is the wire between them, too.

    An lpid is given to the next VM as soon as no VM has it.
    """

    def __init__(self, seed: Seed) -> None:
        self._seed = seed.number
        self._drawn = 0
        self.lpid_in_replacement: int | None = None
        """The lpid of the VM that is being destroyed and made anew: one at a time."""
        super().__init__(Plan(seed.design, SIZE.image, SIZE.plug))
        self._good = steps_for(self.plan)
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
        if start.action in {ActionName.ESM, ActionName.BAD_ESM}:
            steps = self._good if start.action is ActionName.ESM else self._bad
            return self._enter(lpid, steps), Side.ULTRAVISOR
        performed, secure = PERFORMED[start.action], self.runs_secure(lpid)
        token = token_of(start).to_bytes(8, "little")
        asked = Asked(lpid, start.gfn, start.pages, token, SEEN_BYTES, secure)
        return performed.operation(self, asked), performed.side_for(secure=secure)

    def replace_vm(self, lpid: Lpid) -> Operation[Outcome]:
        """Destroy a VM, and give its lpid to another one."""
        if self.lpid_in_replacement is not None:
            return Outcome(Errno.EBUSY, "another VM is being replaced")
        self.lpid_in_replacement = lpid
        try:
            return (yield from super().replace_vm(lpid))
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
