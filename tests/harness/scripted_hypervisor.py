"""A scripted Hypervisor: drives the Ultravisor's operations by hand, in process.

It performs what operations yield. A hypercall is answered as its script says, else honestly.

    hv.answers("H_SVM_PAGE_IN", busy(), refuse(HCode.H_PARAMETER))     the next two of that name
    hv.during_transfer(action)                                         an action before bytes move

Every reply, of either side, is held against the codes that the call may answer with.
"""

from collections import deque
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

from harness.held import Held, may_go_on
from harness.honest_hypervisor import HostSlot, HostVm, honest_reply
from harness.scripted_peer import ActionOf, AnswerOf, ScriptedPeer, checked, refuse
from pef_kit.core.effects import Backoff, Effect, Offload, Operation, PeerCall, PeerFailure, Transfer
from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory, carry_out
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, Lpid, SlotId
from pef_protocol.runs import PlacedRuns
from pef_protocol.ultracalls import PageIn, PageOut, RegisterMemSlot, SvmTerminate, WritePate
from pef_ultravisor.dispatch import guest_load, guest_store, ultracall
from pef_ultravisor.state import Ultravisor

T = TypeVar("T")

Answer: TypeAlias = AnswerOf["ScriptedHypervisor"]
Action: TypeAlias = ActionOf["ScriptedHypervisor"]

HYPERVISOR: Final = Caller(Role.HYPERVISOR)
NORMAL_PAGES: Final = 2048


def guest(lpid: int) -> Caller:
    """Return the kernel of that VM as a caller."""
    return Caller(Role.GUEST, Lpid(lpid))


def busy() -> AnswerOf[ScriptedPeer]:
    """Answer H_BUSY."""
    return refuse(HCode.H_BUSY)


class ScriptedHypervisor(ScriptedPeer):
    """The Hypervisor, normal memory, and whatever performs effects, for one Ultravisor."""

    def __init__(self, uv: Ultravisor) -> None:
        super().__init__()
        self.uv = uv
        self.memory = NormalMemory.unshared(NORMAL_PAGES << PAGE_ORDER)
        self.vms: dict[int, HostVm] = {}
        self.pauses = 0
        self.transfers = 0
        self._during: deque[Action] = deque()
        self._bus_fails_after: int | None = None
        self._free = NORMAL_BASE

    def honest(self, ask: PeerCall) -> Reply:
        """Answer as a Hypervisor does that keeps to the protocol."""
        return honest_reply(self, ask)

    # The script of what is no call

    def during_transfer(self, *actions: Action) -> None:
        """Do one of `actions` in each of the next transfers, before their bytes move."""
        self._during.extend(actions)

    def bus_fails(self, after: int = 0) -> None:
        """Let the bus fail in the next transfer, after so many of its pieces."""
        self._bus_fails_after = after

    # Performing

    def perform(self, effect: Effect) -> Any:
        """Perform one effect; raise PeerFailure where the script says so."""
        match effect:
            case PeerCall():
                return self.answer(effect)
            case Transfer():
                self.transfers += 1
                if self._during:
                    self._during.popleft()(self)
                self._transfer(effect)
            case Offload(run):
                return run()
            case Backoff():
                self.pauses += 1
                return may_go_on(effect)
        return None

    def _transfer(self, transfer: Transfer) -> None:
        after, self._bus_fails_after = self._bus_fails_after, None
        carry_out(self.memory, replace(transfer, pieces=transfer.pieces[:after]))
        if after is not None:
            raise PeerFailure("memory bus", "normal memory", "gone")

    def run(self, operation: Operation[T]) -> T:
        """Run an operation to its end."""
        return self.start(operation).finish()

    def start(self, operation: Operation[T]) -> Held[T]:
        """Return an operation that stands before its first effect."""
        return Held(self.perform, operation)

    def ultracall(self, request: object, caller: Caller = HYPERVISOR) -> Reply:
        """Make the ultracall whose request this is, and check that the answer is one of its codes."""
        name = next(call.name for call in CALLS.values() if call.request is type(request))
        return checked(name, self.run(ultracall(self.uv, caller, name, request)))

    def load(self, lpid: int, gpa: int, length: int) -> bytes:
        """Load as the guest; AccessFailure where it does not resolve."""
        return bytes(self.run(guest_load(self.uv, Lpid(lpid), Gpa(gpa), length)))

    def store(self, lpid: int, gpa: int, content: bytes) -> None:
        """Store as the guest; AccessFailure where it does not resolve."""
        self.run(guest_store(self.uv, Lpid(lpid), Gpa(gpa), content))

    # Normal memory

    def spare(self, count: int = 1) -> int:
        """Return the real address of `count` normal pages that belong to no VM."""
        self._free += count << PAGE_ORDER
        return self._free - (count << PAGE_ORDER)

    def ra(self, lpid: int, gfn: int) -> int:
        """Return the real address at which a GFN lives while it is not secure."""
        slot = self.slot_of(lpid, gfn)
        return slot.base + (gfn - slot.first << PAGE_ORDER)

    def slot_of(self, lpid: int, gfn: int) -> HostSlot:
        """Return the slot that holds a GFN."""
        return next(slot for slot in self.vms[lpid].slots if 0 <= gfn - slot.first < slot.count)

    def page(self, ra: int) -> bytes:
        """Return the bytes of a normal page."""
        return bytes(self.memory.at(ra, PAGE_SIZE))

    def fill(self, ra: int, content: bytes) -> None:
        """Write into normal memory."""
        self.memory.at(ra, len(content))[:] = content

    # The calls it makes

    def terminating(self, lpid: int) -> Held[Reply]:
        """Begin UV_SVM_TERMINATE, which waits as long as bytes of the SVM move."""
        request = SvmTerminate(Lpid(lpid))
        return self.start(ultracall(self.uv, HYPERVISOR, "UV_SVM_TERMINATE", request))

    def new_vm(self, lpid: int, *slots: tuple[int, int, int]) -> HostVm:
        """Make a normal VM of slots (id, first GFN, GFNs) and write its partition-table entry."""
        self.vms[lpid] = HostVm([HostSlot(*slot, self.spare(slot[2])) for slot in slots])
        assert self.ultracall(WritePate(Lpid(lpid), 1, 1)).code is UCode.U_SUCCESS
        return self.vms[lpid]

    def register(self, lpid: int, slot: HostSlot) -> Reply:
        """Send UV_REGISTER_MEM_SLOT for a slot."""
        start, size = Gpa(slot.first << PAGE_ORDER), slot.count << PAGE_ORDER
        return self.ultracall(RegisterMemSlot(Lpid(lpid), start, size, 0, SlotId(slot.slotid)))

    def page_in(self, lpid: int, *gfns: int) -> Reply:
        """Send UV_PAGE_IN for GFNs, each from its own normal page."""
        return self.ultracall(PageIn(Lpid(lpid), self._placed(lpid, gfns), 0, PAGE_ORDER))

    def page_out(self, lpid: int, *gfns: int) -> Reply:
        """Send UV_PAGE_OUT for GFNs, each to its own normal page."""
        reply = self.ultracall(PageOut(Lpid(lpid), self._placed(lpid, gfns), 0, PAGE_ORDER))
        refused = {gpa >> PAGE_ORDER for gpa, _, _ in reply.refused}
        self.vms[lpid].letters.update({gfn: "P" for gfn in gfns if gfn not in refused})
        return reply

    def _placed(self, lpid: int, gfns: tuple[int, ...]) -> PlacedRuns:
        return PlacedRuns.from_rows((self.ra(lpid, gfn), gfn << PAGE_ORDER, 1) for gfn in gfns)
