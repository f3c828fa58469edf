"""A scripted Hypervisor: drives the Ultravisor's operations by hand, in process.

It performs what operations yield. A hypercall is answered as its script says, else honestly.

    hv.answers("H_SVM_PAGE_IN", busy(), refuse(HCode.H_PARAMETER))     the next two of that name
    hv.at(3, silent())                                                 the third hypercall of all
    hv.during_transfer(action)                                           a action while bytes move

Every reply, of either side, is held against the codes that the call may answer with.
"""

from collections import defaultdict, deque
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

from harness.answers import Action, Answer, HostSlot, HostVm, honest
from pef_kit.core.effects import (
    MAX_ATTEMPTS,
    Backoff,
    Effect,
    Offload,
    Operation,
    PeerCall,
    PeerFailure,
    Transfer,
)
from pef_kit.core.lease import Ended
from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory, carry_out
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, Lpid, SlotId
from pef_protocol.runs import PlacedRuns
from pef_protocol.ultracalls import PageIn, PageOut, RegisterMemSlot, SvmTerminate, WritePate
from pef_ultravisor.dispatch import guest_load, guest_store, ultracall
from pef_ultravisor.state import Ultravisor

T = TypeVar("T")

HYPERVISOR: Final = Caller(Role.HYPERVISOR)
NORMAL_PAGES: Final = 2048


def guest(lpid: int) -> Caller:
    """Return the kernel of that VM as a caller."""
    return Caller(Role.GUEST, Lpid(lpid))


class ScriptedHypervisor:
    """The Hypervisor, normal memory, and whatever performs effects, for one Ultravisor."""

    def __init__(self, uv: Ultravisor) -> None:
        self.uv = uv
        self.memory = NormalMemory.unshared(NORMAL_PAGES << PAGE_ORDER)
        self.vms: dict[int, HostVm] = {}
        self.asked: list[PeerCall] = []
        self.pauses = 0
        self.transfers = 0
        self._script: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._at: dict[int, Answer] = {}
        self._during: deque[Action] = deque()
        self._bus_fails_after: int | None = None
        self._free = NORMAL_BASE

    @property
    def names(self) -> list[str]:
        """Return the names of the hypercalls that the Ultravisor made, in order."""
        return [ask.name for ask in self.asked]

    # The script

    def answers(self, name: str, *answers: Answer) -> None:
        """Answer the next hypercalls of that name so; honestly after them."""
        self._script[name].extend(answers)

    def at(self, number: int, answer: Answer) -> None:
        """Answer hypercall `number` of all, from 1, so."""
        self._at[number] = answer

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
                return self._answer(effect)
            case Transfer():
                self.transfers += 1
                if self._during:
                    self._during.popleft()(self)
                self._transfer(effect)
            case Offload(run):
                return run()
            case Backoff(attempt, ignore_deadline):
                self.pauses += 1
                assert not ignore_deadline or attempt < MAX_ATTEMPTS, (
                    "an operation waits for what nobody ends"
                )
                return ignore_deadline or attempt < MAX_ATTEMPTS - 1
        return None

    def _transfer(self, transfer: Transfer) -> None:
        after, self._bus_fails_after = self._bus_fails_after, None
        carry_out(self.memory, replace(transfer, pieces=transfer.pieces[:after]))
        if after is not None:
            raise PeerFailure("memory bus", "normal memory", "gone")

    def _answer(self, ask: PeerCall) -> Reply:
        self.asked.append(ask)
        queue = self._script[ask.name]
        scripted = self._at.pop(len(self.asked), None) or (queue.popleft() if queue else honest)
        reply = scripted(self, ask)
        assert reply.code in CALLS[ask.name].codes, f"{ask.name} never answers {reply.code!r}"
        return reply

    def run(self, operation: Operation[T]) -> T:
        """Run an operation to its end."""
        return Held(self, operation).finish()

    def ultracall(self, request: object, caller: Caller = HYPERVISOR) -> Reply:
        """Make the ultracall whose request this is, and check that the answer is one of its codes."""
        name = next(call.name for call in CALLS.values() if call.request is type(request))
        reply = self.run(ultracall(self.uv, caller, name, request))
        codes = CALLS[name].codes
        assert reply.code in codes, f"{name} never answers {reply.code!r}"
        assert {code for _, _, code in reply.refused.coded()} <= {int(code) for code in codes}
        return reply

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

    def terminating(self, lpid: int) -> "Held[Reply]":
        """Begin UV_SVM_TERMINATE, which waits as long as bytes of the SVM move."""
        request = SvmTerminate(Lpid(lpid))
        return Held(self, ultracall(self.uv, HYPERVISOR, "UV_SVM_TERMINATE", request))

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


class Held(Generic[T]):
    """An operation that is driven effect by effect, so that a test can act between two of them."""

    def __init__(self, hv: ScriptedHypervisor, operation: Operation[T]) -> None:
        self._hv = hv
        self._operation = operation
        self._effect: Effect | None = None
        self._outcome: list[T] = []
        self._resume(None, None)

    def _resume(self, answer: Any, failure: PeerFailure | Ended | None) -> None:
        try:
            self._effect = self._operation.throw(failure) if failure else self._operation.send(answer)
        except StopIteration as end:
            self._effect = None
            self._outcome.append(end.value)

    def step(self) -> None:
        """Perform the effect at which the operation stands, and let it go on to the next one."""
        assert self._effect is not None
        try:
            answer = self._hv.perform(self._effect)
        except (PeerFailure, Ended) as failure:
            self._resume(None, failure)
        else:
            self._resume(answer, None)

    def until(self, kind: type[Effect]) -> "Held[T]":
        """Go on until the operation stands before an effect of that kind."""
        while not isinstance(self._effect, kind):
            assert self._effect is not None, f"ended without a {kind.__name__}"
            self.step()
        return self

    def finish(self) -> T:
        """Go on to the end and return the outcome."""
        while not self._outcome:
            self.step()
        return self._outcome[0]
