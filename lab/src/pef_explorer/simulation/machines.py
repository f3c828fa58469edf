"""Both machines with several VMs in one process, and the actors' actions as operations of theirs."""

import hashlib
from typing import Any, Final

import numpy as np

from pef_explorer.plan import Plan
from pef_explorer.simulation.events import GUEST, WORLD, Do, Seed, Start
from pef_explorer.small_esm import measured, not_as_promised, steps_for
from pef_explorer.small_memory import HeapFrames, HeapMemory, KnownBytesSealer
from pef_explorer.wire import Wire
from pef_hypervisor.machine import Hypervisor
from pef_kit.bus import NORMAL_BASE, carry_out
from pef_kit.core.hello import Epochs
from pef_kit.operations import Ask, Operation, Transfer
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.identity import instance_of
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, Gpa, Lpid
from pef_protocol.states import HvVmState, UvVmState
from pef_protocol.ultracalls import Esm, SharePage, UnshareAllPages, UnsharePage
from pef_protocol.wire import Caller, Role
from pef_ultravisor.from_guest.accesses import guest_load, guest_store
from pef_ultravisor.from_guest.entering import Entering, Step
from pef_ultravisor.from_guest.esm import LADDER
from pef_ultravisor.from_guest.guest_calls import GuestCall
from pef_ultravisor.handlers import ultracall
from pef_ultravisor.machine import Capacity, Ultravisor

SEEN_BYTES: Final = 16
"""Bytes of an access: a token, and as many that are zero in every page that is not encrypted."""
ENTRY: Final = Esm(Gpa(PAGE_SIZE), Gpa(PAGE_SIZE))
BY_HYPERVISOR: Final = frozenset(Do) - frozenset(GUEST) | {Do.REBOOT}
"""Actions that the Hypervisor does for a VMM."""
MAGIC: Final = 0xA5
BY_GUEST, BY_HOST = 1, 2


def token_of(start: Start) -> int:
    """Return the token that an action writes: it tells who wrote it, when, and to which page."""
    by = BY_HOST if start.does is Do.HOST_WRITE else BY_GUEST
    return MAGIC << 56 | by << 52 | start.vm << 44 | start.gfn << 32 | start.number + 1


def page_of_token(word: int) -> tuple[int, int]:
    """Return the VM and the GFN that a token was written to."""
    return word >> 44 & 0xFF, word >> 32 & 0xFFF


class Machines(Wire):
    """An Ultravisor and a Hypervisor with `WORLD.vms` VMs; it is the wire between them, too."""

    def __init__(self, seed: Seed) -> None:
        super().__init__()
        self._seed = seed.number
        self._drawn = 0
        self.memory = HeapMemory(WORLD.vms * WORLD.pages)
        words: np.ndarray[Any, np.dtype[np.uint64]] = self.memory.pages.view(np.uint64)
        self.words = words[:, : SEEN_BYTES // 8]
        """Token and zeroes of each page of normal memory (pages x 2, uint64), as a view."""
        self.uv = Ultravisor(
            Capacity(WORLD.secure_pages, self.memory.size),
            self._entropy,
            frames=HeapFrames,
            sealer=KnownBytesSealer,
        )
        self.hv = Hypervisor(
            self.memory,
            device_pages=WORLD.secure_pages,
            digest_key=b"simulation",
            instance=instance_of(bytes(16)),
        )
        self._epochs = Epochs(self.uv.instance)
        lives = self.begin_epoch(self._epochs.take_over(self.hv.store.instance))
        self.uv.epoch, self.hv.store.epoch = lives[Side.ULTRAVISOR], lives[Side.HYPERVISOR]
        self._good = steps_for(Plan(seed.design, WORLD.image, WORLD.plug))
        self._bad = tuple(not_as_promised if step is measured else step for step in self._good)

    def _entropy(self, count: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_128(f"{self._seed} {self._drawn}".encode()).digest(count)

    # The wire

    def handler(self, ask: Ask) -> Operation[Reply]:
        """Return the operation by which the peer answers; the caller names the SVM that it means.

        Raise OtherIncarnation, now or at its first step, where that is not the one that there is.
        """
        if CALLS[ask.name].is_ultracall:
            caller = Caller(Role.HYPERVISOR, incarnation=ask.incarnation)
            return ultracall(self.uv, caller, ask.name, ask.request)
        return self.hv.hypercall(Caller(Role.ULTRAVISOR, incarnation=ask.incarnation), ask.name, ask.request)

    def carry_out(self, transfer: Transfer) -> None:
        """Move the bytes of a transfer."""
        carry_out(self.memory, transfer)

    # The actors

    def begin(self, start: Start) -> Operation[Any]:
        """Return the operation by which an action is done."""
        if start.does in BY_HYPERVISOR:
            return self._host(start)
        lpid, gpa = Lpid(start.vm + 1), start.gfn << PAGE_ORDER
        if start.does in {Do.LOAD, Do.STORE}:
            return self._access(start, lpid, gpa)
        if start.does in {Do.ESM, Do.BAD_ESM}:
            return self._enter(lpid, self._good if start.does is Do.ESM else self._bad)
        asked = {
            Do.SHARE: ("UV_SHARE_PAGE", SharePage(Gfn(start.gfn), start.pages)),
            Do.UNSHARE: ("UV_UNSHARE_PAGE", UnsharePage(Gfn(start.gfn), start.pages)),
            Do.UNSHARE_ALL: ("UV_UNSHARE_ALL_PAGES", UnshareAllPages()),
        }[start.does]
        return ultracall(self.uv, Caller(Role.GUEST, lpid), *asked)

    def _access(self, start: Start, lpid: Lpid, gpa: int) -> Operation[Any]:
        token = token_of(start).to_bytes(8, "little")
        if self.runs_secure(lpid):
            if start.does is Do.LOAD:
                return guest_load(self.uv, lpid, gpa, SEEN_BYTES)
            return guest_store(self.uv, lpid, gpa, token)
        if start.does is Do.LOAD:
            return self.hv.load(lpid, gpa, SEEN_BYTES)
        return self.hv.store_bytes(lpid, gpa, token)

    def _host(self, start: Start) -> Operation[Any]:
        lpid, gpa = start.vm + 1, start.gfn << PAGE_ORDER
        match start.does:
            case Do.HOST_WRITE:
                return self.hv.host_write(lpid, gpa, token_of(start).to_bytes(8, "little"))
            case Do.HOT_ADD:
                return self.hv.add_slot(lpid, 1, WORLD.gfns << PAGE_ORDER, WORLD.plug << PAGE_ORDER)
            case Do.HOT_REMOVE:
                return self.hv.remove_slot(lpid, 1)
            case Do.UNMAP:
                return self.hv.unmap(lpid, gpa, start.pages)
            case Do.REBOOT | Do.RESET:
                return self.hv.reset(lpid)
        return self.hv.host_read(lpid, gpa, (start.pages - 1) * PAGE_SIZE + SEEN_BYTES)

    def _enter(self, lpid: Lpid, steps: tuple[Step, ...]) -> Operation[Reply]:
        """Answer UV_ESM as the service does, by the small steps."""
        call = GuestCall(self.uv, Caller(Role.GUEST, lpid), ENTRY)
        refused = LADDER.climb(call)
        if refused:
            return Reply(refused.code)
        if call.svm is not None:
            return Reply(UCode.U_SUCCESS)
        entering = Entering.begin(self.uv, self.uv.new_svm(lpid), ENTRY, steps)
        try:
            while entering.reply is None:
                yield from entering.next_phase()
        finally:
            entering.end()
        return entering.reply

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
