"""The wire between two machines in one process: the services' own fence, slots and record of epochs.

A message is sent in a slot, which it keeps until it has an outcome, and is judged by the fence of the side at
which it arrives, whenever and however often it does. So what is searched, simulated and killed in one process
is the message layer of the services, without HTTP.

Source: rules 2, 4, 6 and 7 of ARCHITECTURE.md, "Identity and time".
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pef_kit.core.effects import Operation, PeerCall, PeerFailure, Transfer
from pef_kit.core.fence import Answer, Fence, KeptAnswer, Refuse, Run, SenderSlot, Session
from pef_kit.core.fence import Message as Arrival
from pef_kit.core.lease import Ended, leased
from pef_kit.core.life import Life, OtherIncarnation
from pef_protocol.calls import CALLS, Reply
from pef_protocol.events import Side
from pef_protocol.identity import CallId, Epoch
from pef_protocol.problems import ProblemType

SENDERS: Final = {Side.ULTRAVISOR: Side.HYPERVISOR, Side.HYPERVISOR: Side.ULTRAVISOR}
"""Whose messages each side answers."""


class NotDone(Exception):
    """A message that was refused; `kind` says why."""

    def __init__(self, kind: ProblemType) -> None:
        super().__init__(kind.name)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Message:
    """A call as it was sent; `number` counts all that were ever sent, in both directions.

    One without a `call` is of a peer without slots.
    """

    number: int
    ask: PeerCall
    epoch: Epoch | None
    call: CallId | None
    session: Session | None = None
    slot: SenderSlot | None = None

    @property
    def name(self) -> str:
        """Return the name of the call."""
        return self.ask.name

    @property
    def to(self) -> Side:
        """Return the side that answers it."""
        return answers(self.ask)

    @property
    def sender(self) -> Side:
        """Return the side that sent it."""
        return SENDERS[self.to]

    def give_slot_back(self, *, received: bool) -> None:
        """Take its slot back with its outcome; `received`: its number is used up."""
        if self.session is not None and self.slot is not None:
            self.session.release(self.slot, received=received)


def answers(ask: PeerCall) -> Side:
    """Return the side that answers a call."""
    return Side.ULTRAVISOR if CALLS[ask.name].is_ultracall else Side.HYPERVISOR


def epoch_of(ask: PeerCall) -> Epoch | None:
    """Return the epoch for which the operation acts that makes a call, or None."""
    return next((life.epoch for life in ask.lives if life.epoch), None)


@dataclass(frozen=True, slots=True)
class KeptReply(KeptAnswer):
    """An answer that is kept, as a value of this process."""

    outcome: Reply | NotDone | None = None


class Wire(ABC):
    """What joins two machines: who answers a call, the message layer, and the bus."""

    slots = 64
    """Slots of a session at each depth."""

    def __init__(self) -> None:
        self.fences = {side: Fence() for side in Side}
        self.sessions: dict[Side, Session] = {}
        self.sent = 0
        self.kept: list[Message] = []
        """Copies of messages that the network has: each may arrive at any time."""
        self.acted: set[int] = set()
        self.wrong = ""
        """What a message did that it must not: it acted again, or for an epoch or an SVM of the past."""
        self.on_acting: Callable[[object], None] = lambda _: None
        """Is told of each request that begins to act."""
        self._latest: dict[SenderSlot, int] = {}
        """The message that each slot has carried last."""

    @abstractmethod
    def handler(self, ask: PeerCall) -> Operation[Reply]:
        """Return the operation by which the peer answers `ask`; the caller names the SVM that it means.

        Raise OtherIncarnation, now or at its first step, where that is not the one that there is.
        """

    @abstractmethod
    def carry_out(self, side: Side, transfer: Transfer) -> None:
        """Move the bytes of a transfer, as far as `side` reaches."""

    @property
    def epoch(self) -> Epoch | None:
        """Return the Ultravisor's current epoch, or None."""
        return self.fences[Side.ULTRAVISOR].epoch

    def is_over(self, message: Message) -> bool:
        """Tell whether the slot of a message has carried another one since."""
        return message.slot is None or self._latest.get(message.slot) != message.number

    def _acts(self, message: Message) -> None:
        """Note that a message acts, and judge whether it may."""
        self.on_acting(message.ask.request)
        if message.call is None:
            return
        if message.number in self.acted:
            self.wrong = f"{message.name} acts twice"
        elif message.epoch != self.epoch:
            self.wrong = f"{message.name} of an earlier epoch acts"
        self.acted.add(message.number)

    def keep(self, message: Message) -> None:
        """Keep a copy of a message: it may arrive again at any time, also after its sender has gone."""
        self.kept.append(message)

    def begin_epoch(self, side: Side, epoch: Epoch) -> Life:
        """Begin an epoch at a side and return its life there, with a session for what that side sends."""
        self._latest.clear()
        self.acted.clear()
        self.sessions[side] = Session(f"{side.value} {epoch}", self.slots)
        return self.fences[side].begin(epoch)

    def send(self, ask: PeerCall, depth: int, *, epoch: Epoch | None) -> Message:
        """Put a call on the wire, in a slot; `epoch` is the one of its operation."""
        self.sent += 1
        name, slot = self._slot(ask, depth)
        self._latest[slot] = self.sent
        return Message(self.sent, ask, epoch, name.call_id(slot), name, slot)

    def send_without_slot(self, ask: PeerCall) -> Message:
        """Put a call on the wire as a peer does that has no slots."""
        self.sent += 1
        return Message(self.sent, ask, epoch_of(ask), None)

    def _slot(self, ask: PeerCall, depth: int) -> tuple[Session, SenderSlot]:
        session = self.sessions[SENDERS[answers(ask)]]
        slot = session.take(depth)
        if slot is None:
            raise AssertionError(f"{self.slots} calls are open at depth {depth}")
        return session, slot

    def receive(self, message: Message) -> Operation[Reply] | Reply:
        """Return the operation by which a message that has just arrived is answered, or its kept answer.

        Raise NotDone where it is refused, or its first copy is under way.
        """
        fence = self.fences[message.to]
        verdict = fence.receive(Arrival(message.epoch, message.call, b"%d" % message.number))
        match verdict:
            case Run():
                return self._begin(fence, verdict, message)
            case Answer(KeptReply(outcome=NotDone() as refusal)):
                raise refusal
            case Answer(KeptReply(outcome=Reply() as reply)):
                return reply
            case Refuse(_, kind):
                raise NotDone(kind)
        raise NotDone(ProblemType.NOT_NOW)

    def _begin(self, fence: Fence, verdict: Run, message: Message) -> Operation[Reply]:
        try:
            operation = leased(self.handler(message.ask), verdict.life)
        except OtherIncarnation:
            refusal = NotDone(ProblemType.OTHER_INCARNATION)
            fence.answered(verdict, KeptReply(409, "", b"", refusal))
            raise refusal from None
        self._acts(message)
        return answering(fence, verdict, operation)

    def outcome(self, message: Message, refusal: NotDone) -> Exception | None:
        """Return what a refusal means to the sender; None where it asks again."""
        match refusal.kind:
            case ProblemType.OTHER_EPOCH | ProblemType.NOT_NOW:
                return None
            case ProblemType.BROKEN:
                return PeerFailure(message.name, message.to.value, "500")
        return PeerFailure(message.name, message.to.value, str(refusal), done=False)


def answering(fence: Fence, verdict: Run, operation: Operation[Reply]) -> Operation[Reply]:
    """Answer a message; its answer is kept at every end. Raise NotDone where it is none of the protocol's."""
    outcome: Reply | NotDone = NotDone(ProblemType.BROKEN)
    try:
        outcome = yield from operation
    except OtherIncarnation:
        outcome = NotDone(ProblemType.OTHER_INCARNATION)
        raise outcome from None
    except Ended:
        outcome = NotDone(ProblemType.OTHER_EPOCH)
        raise outcome from None
    finally:
        fence.answered(verdict, KeptReply(200, "", b"", outcome))
    return outcome
