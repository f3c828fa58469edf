"""The adapter: how messages travel between the two sides, and what a side forgets when it starts anew.

It is the fence without HTTP: the services' own receiver, slots and record of epochs. All that the crash
matrix knows of the message layer stands here; the rest asks for it.
"""

import random
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from crash.hello import Exchange, Reception, Steps, introduce
from crash.memory import PrivateFrames, PrivateMemory
from pef_hypervisor.from_guest.memory_access import Refused
from pef_hypervisor.machine import Hypervisor
from pef_kit.bus import carry_out
from pef_kit.core.fence import Answer, Fence, Kept, KeptAnswer, Refuse, Run
from pef_kit.core.fence import Message as Arrival
from pef_kit.core.hello import Epochs
from pef_kit.core.lease import Ended, leased
from pef_kit.core.life import OtherIncarnation
from pef_kit.core.slots import Session, Slot
from pef_kit.operations import Ask, Operation, PeerFailure, Transfer
from pef_protocol.calls import CALLS, Reply
from pef_protocol.events import Side
from pef_protocol.identity import CallId, Epoch, instance_of
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import Lpid
from pef_protocol.wire import Caller, Role
from pef_ultravisor.from_guest.accesses import guest_load, guest_store
from pef_ultravisor.handlers import ultracall
from pef_ultravisor.machine import Capacity, Ultravisor

T = TypeVar("T")

NORMAL_BYTES: Final = 128 << 20
MACHINE_KEY: Final = b"what this machine's key is made of"


class Unauthorized(Exception):
    """A token that is not current: HTTP 401."""


class NotDone(Exception):
    """A message that was refused; `kind` says why."""

    def __init__(self, kind: ProblemType) -> None:
        super().__init__(kind.name)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Message:
    """A call as it was sent; `number` counts all that were ever sent, in both directions."""

    number: int
    sender: Side
    ask: Ask
    epoch: Epoch | None
    call: CallId
    session: Session
    slot: Slot

    @property
    def name(self) -> str:
        """Return the name of the call."""
        return self.ask.name

    @property
    def to(self) -> Side:
        """Return the side that answers it."""
        return Side.ULTRAVISOR if CALLS[self.ask.name].is_ultracall else Side.HYPERVISOR


@dataclass(frozen=True, slots=True)
class Token:
    """What a guest shows to one side: who it is there."""

    side: Side
    caller: Caller


class Machines:
    """Both sides as they run now, the normal memory between them, and every message that was ever sent."""

    def __init__(self, secure_pages: int) -> None:
        self.secure_pages = secure_pages
        self.sent: list[Message | Exchange] = []
        self.down: set[Side] = set()
        self.fences: dict[Side, Fence] = {}
        self.sessions: dict[Side, Session] = {}
        self._entropy = random.Random(1)
        self.start(Side.ULTRAVISOR)
        self.start(Side.HYPERVISOR)

    def start(self, side: Side) -> None:
        """Start a side anew; nothing is left of what it knew."""
        self.down.discard(side)
        self.fences[side] = Fence()
        if side is Side.ULTRAVISOR:
            self.frames: list[PrivateFrames] = []
            self.mapped: PrivateMemory | None = None
            self.uv = Ultravisor(
                Capacity(self.secure_pages, NORMAL_BYTES),
                self._entropy.randbytes,
                frames=self._new_frames,
                machine_key=MACHINE_KEY,
            )
            self.reception = Reception(Epochs(self.uv.instance))
        else:
            self.memory = PrivateMemory(NORMAL_BYTES)
            instance = instance_of(self._entropy.randbytes(16))
            self.hv = Hypervisor(
                self.memory, device_pages=self.secure_pages, digest_key=b"crash", instance=instance
            )

    def _new_frames(self, count: int) -> PrivateFrames:
        self.frames.append(PrivateFrames(count))
        return self.frames[-1]

    def stop(self, side: Side) -> None:
        """Let a side die: who calls it finds nobody."""
        self.down.add(side)

    def introduce(self) -> Steps[None]:
        """Return what the Hypervisor does once a side has started anew: hello, and what follows."""
        return introduce(self)

    def leased(self, side: Side, operation: Operation[T]) -> Operation[T]:
        """Return an operation that ends with the current epoch."""
        return leased(operation, self.fences[side].life)

    def send(self, sender: Side, ask: Ask, depth: int) -> Message:
        """Put a call on the wire, in a slot that it keeps until it has an outcome."""
        session = self.sessions[sender]
        slot = session.take(depth)
        assert slot is not None
        epoch = next((life.epoch for life in ask.lives if life.epoch), None)
        message = Message(len(self.sent), sender, ask, epoch, session.call_id(slot), session, slot)
        self.sent.append(message)
        return message

    def receive(self, message: Message | Exchange) -> Operation[Any]:
        """Return the operation by which the side that is called answers a message that has arrived.

        Raise NotDone where it is refused.
        """
        if isinstance(message, Exchange):
            return message.arrive()
        fence = self.fences[message.to]
        fingerprint = repr((message.ask.name, message.ask.request)).encode()
        verdict = fence.receive(Arrival(message.epoch, message.call, fingerprint))
        match verdict:
            case Run():
                return self._answer(fence, verdict, self.leased(message.to, self._handler(message)))
            case Answer():
                return self._kept(message)
            case Refuse(_, kind):
                raise NotDone(kind)
            case _:
                raise NotDone(ProblemType.NOT_NOW)

    def _handler(self, message: Message) -> Operation[Reply]:
        name, request, named = message.ask.name, message.ask.request, message.ask.incarnation
        if message.to is Side.ULTRAVISOR:
            return ultracall(self.uv, Caller(Role.HYPERVISOR, incarnation=named), name, request)
        return self.hv.hypercall(Caller(Role.ULTRAVISOR, incarnation=named), name, request)

    def _answer(self, fence: Fence, verdict: Run, operation: Operation[Reply]) -> Operation[Reply]:
        """Answer a message; its answer is kept at every end."""
        verdict.kept.task = NotDone(ProblemType.BROKEN)
        try:
            reply = verdict.kept.task = yield from operation
        except OtherIncarnation:
            verdict.kept.task = NotDone(ProblemType.OTHER_INCARNATION)
            raise verdict.kept.task from None
        except Ended:
            verdict.kept.task = NotDone(ProblemType.OTHER_EPOCH)
            raise verdict.kept.task from None
        finally:
            fence.answered(verdict, KeptAnswer(200, "", b""))
        return reply

    def _kept(self, message: Message) -> Operation[Reply]:
        """Give the answer again that a message had."""
        kept: Reply | NotDone = self._last(message).task
        yield from ()
        if isinstance(kept, NotDone):
            raise kept
        return kept

    def _last(self, message: Message) -> Kept:
        return self.fences[message.to]._sessions[message.call.session][message.call.depth, message.call.slot]

    def outcome(self, message: Message, refusal: NotDone) -> Exception | None:
        """Return what a refusal means to the sender; None where it asks again."""
        life = next((life for life in message.ask.lives if life.epoch), None)
        match refusal.kind:
            case ProblemType.OTHER_EPOCH if message.sender is Side.HYPERVISOR and life is not None:
                return Ended(life)
            case ProblemType.OTHER_EPOCH | ProblemType.NOT_NOW:
                return None
            case ProblemType.BROKEN:
                return PeerFailure(message.ask.name, message.to.value, "500")
            case _:
                return PeerFailure(message.ask.name, message.to.value, str(refusal), done=False)

    def carry_out(self, side: Side, transfer: Transfer) -> None:
        """Move bytes over the memory bus, as far as `side` reaches."""
        memory = self.mapped if side is Side.ULTRAVISOR else self.memory
        assert memory is not None
        carry_out(memory, transfer)

    # Guests

    def token(self, side: Side, lpid: int) -> Token:
        """Return a token for the guest that has `lpid` now."""
        incarnation = self._served_by(side).incarnation_of(lpid)
        return Token(side, Caller(Role.GUEST, Lpid(lpid), incarnation=incarnation))

    def _served_by(self, side: Side) -> Ultravisor | Hypervisor:
        return self.uv if side is Side.ULTRAVISOR else self.hv

    def _lpid_of(self, token: Token) -> Lpid:
        """Return the lpid of the VM whose token this is; raise Unauthorized where that VM has ended."""
        lpid = token.caller.lpid
        if lpid is None or token.caller.incarnation != self._served_by(token.side).incarnation_of(lpid):
            raise Unauthorized(f"the token of VM {lpid} is not current")
        return lpid

    def guest_call(self, token: Token, name: str, request: object) -> Operation[Reply]:
        """Return an ultracall of a guest; raise Unauthorized where its token is not current."""
        self._lpid_of(token)
        return self.leased(Side.ULTRAVISOR, ultracall(self.uv, token.caller, name, request))

    def load(self, token: Token, gpa: int, length: int) -> Operation[memoryview | bytes | Refused]:
        """Return a guest's load; raise Unauthorized where its token is not current."""
        lpid = self._lpid_of(token)
        if token.side is Side.ULTRAVISOR:
            return self.leased(token.side, guest_load(self.uv, lpid, gpa, length))
        return self.hv.load(lpid, gpa, length)

    def store(self, token: Token, gpa: int, content: bytes) -> Operation[Refused | None]:
        """Return a guest's store; raise Unauthorized where its token is not current."""
        lpid = self._lpid_of(token)
        if token.side is Side.ULTRAVISOR:
            return self.leased(token.side, guest_store(self.uv, lpid, gpa, content))
        return self.hv.store_bytes(lpid, gpa, content)
