"""The message layer as a world that is searched: the real receiver, the real slots, and a network.

The network keeps every message for ever: one that was ever sent arrives any number of times, in any order;
each answer may be lost. Calls are made for one VM, but for call 0, which is for another. That VM may get
another life, at the sender and at the receiver at different moments. Either side may die; then hello begins
another epoch.

`Rules` say what the parts around the two objects do; a mutant exchanges a part, or a rule.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pef_kit.core.fence import Answer, Fence, KeptAnswer, Message, Refuse, Run, SenderSlot, Session
from pef_protocol.identity import CallId, Epoch, InstanceId
from pef_protocol.problems import ProblemType
from properties.searching import Step

EPOCHS: Final = [Epoch(InstanceId("0" * 32), count) for count in (1, 2)]
NOT_NOW: Final = Refuse(503, ProblemType.NOT_NOW, "not now")


class Receiver(Protocol):
    """What a world needs of a receiver: see `pef_kit.core.fence.Fence`."""

    def begin(self, epoch: Epoch) -> object:
        """Begin an epoch."""

    def receive(self, message: Message) -> Any:
        """Say what becomes of a message."""

    def answered(self, run: Any, answer: KeptAnswer) -> None:
        """Keep an answer."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The parts of a world, and what those do that are not searched here."""

    make_receiver: Callable[[], Any] = Fence
    make_session: Callable[[str, int], Session] = Session
    calls: int = 3
    slots: int = 2
    lives: int = 2
    deaths: int = 1
    compares_incarnation: bool = True
    """The receiver refuses a message for another life."""
    answers_every_end: bool = True
    """The receiver hands on an answer where an operation ends with an exception, too."""
    keeps_busy: bool = False
    """The receiver keeps a "not now" as the answer to a call."""
    slot_stays_taken: bool = True
    """A call that nobody waits for keeps its slot until it has an outcome."""
    epoch_at_send: bool = False
    """The sender names the epoch of the moment of sending, not that of the operation."""
    forgets: bool = False
    """An operation may give a call up while the life that it acts for goes on."""


@dataclass(slots=True)
class Call:
    """A call as its sender knows it.

    `state`: new, begun, open (an operation waits), asked on (none waits any more), or how it ended: done, not
    done, ended.
    """

    state: str = "new"
    epoch: int = 0
    life: int = 0
    slot: SenderSlot | None = None
    effects: list[tuple[int, int]] = field(default_factory=list)
    """Epoch and life at the receiver at the moment of each effect."""
    running: Run | None = None


@dataclass
class World:
    """One state of the world."""

    rules: Rules
    epoch: int = 0
    """The receiver's current epoch; 0 while it has none. A sender that died has no session."""
    last: int = 1
    life: int = 1
    """Which life the receiver has of the VM; `known` is what the sender has."""
    known: int = 1
    deaths: int = 0
    busy: bool = False
    receiver: Any = None
    session: Session | None = None
    calls: list[Call] = field(default_factory=list)
    net: list[tuple[int, int, int, CallId]] = field(default_factory=list)
    """Every message that was ever sent: call, epoch, life, id."""
    broken: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, rules: Rules) -> "World":
        """Return the first state of a world."""
        world = cls(rules, receiver=rules.make_receiver(), calls=[Call() for _ in range(rules.calls)])
        world.hello(1)
        return world

    def hello(self, epoch: int) -> None:
        """Begin an epoch, at both sides."""
        self.epoch = self.last = epoch
        self.receiver.begin(EPOCHS[epoch - 1])
        self.session = self.rules.make_session(f"session {epoch}", self.rules.slots)

    def steps(self) -> Iterator[Step]:
        """Yield what may happen next, with the method that does it and its arguments."""
        for number, call in enumerate(self.calls):
            first = number == 0 or self.calls[number - 1].state != "new"
            if call.state == "new" and first and self.session is not None:
                yield f"operation {number} begins", "begin", (number,)
            if call.state == "begun" and self.session is not None:
                yield f"call {number} is sent", "send", (number,)
            if call.running is not None:
                yield f"call {number} ends", "ends", (number,)
                yield f"call {number} fails", "fails", (number,)
            if call.state == "open" and self.rules.forgets:
                yield f"call {number} is given up", "give_up", (number,)
        if self.life < self.rules.lives:
            yield "a new life at the receiver", "new_life", ()
        if self.known < self.rules.lives:
            yield "a new life at the sender", "learn", ()
        for place, (number, epoch, _, _) in enumerate(self.net):
            what = f"call {number} of epoch {epoch} arrives"
            yield f"{what}, its answer too", "deliver", (place, True)
            yield f"{what}, its answer is lost", "deliver", (place, False)
        if self.session is None:
            yield "hello", "hello", (self.last + 1,)
        elif self.deaths < self.rules.deaths:
            yield "the sender dies", "sender_dies", ()
            yield "the receiver dies", "receiver_dies", ()

    # The sender

    def begin(self, number: int) -> None:
        """Begin an operation under a lease on the epoch and, but for call 0, on the VM's life."""
        call = self.calls[number]
        call.state, call.epoch, call.life = "begun", self.epoch, self.known if number else 0

    def send(self, number: int) -> None:
        """Send the call of an operation, if there is a slot."""
        call, session = self.calls[number], self.session
        assert session is not None
        call.slot = session.take(0)
        if call.slot is None:
            return
        epoch = self.epoch if self.rules.epoch_at_send else call.epoch
        call.state = "open"
        self.net.append((number, epoch, call.life, session.call_id(call.slot)))

    def over(self, call: Call, why: str) -> None:
        """End the operation of a call by its lease."""
        if call.state == "begun":
            call.state = why
        elif call.state == "open":
            call.state = "asked on"
            if not self.rules.slot_stays_taken:
                self.settle(call, "ended", received=True)

    def give_up(self, number: int) -> None:
        """Let an operation end without an outcome of its call, and its life go on."""
        self.calls[number].state = "given up"

    def settle(self, call: Call, outcome: str, *, received: bool) -> None:
        """Give the slot of a call back with its outcome."""
        assert call.slot is not None
        if self.session is not None and call.epoch == self.epoch:
            self.session.release(call.slot, received=received)
        call.state = outcome if call.state == "open" else "ended"
        call.slot = None

    def learn(self) -> None:
        """Let the VM have a new life at the sender: operations for the one before end."""
        self.known += 1
        for call in self.calls:
            if call.life and call.life < self.known:
                self.over(call, "ended")

    def hear(self, number: int, verdict: Any) -> None:
        """Let the sender of a call read what came of it."""
        call = self.calls[number]
        if call.state not in {"open", "asked on"}:
            return
        match verdict:
            case Answer(KeptAnswer(200)):
                self.settle(call, "done", received=True)
            case Answer(KeptAnswer(409)):
                self.settle(call, "not done", received=True)
            case Answer(KeptAnswer(500)):
                self.settle(call, "broken", received=True)
            case Refuse(_, ProblemType.SLOT | ProblemType.LATE):
                self.broken.append("a call that was sent in order is refused by its number")
                self.settle(call, "not done", received=False)
            case _:
                return  # not now, under way, or another epoch: it is asked again

    # The receiver

    def new_life(self) -> None:
        """Let the VM have a new life at the receiver."""
        self.life += 1

    def deliver(self, place: int, hears: bool) -> None:
        """Let a message arrive; `hears` tells whether its sender reads the answer to it."""
        number, epoch, life, call_id = self.net[place]
        call = self.calls[number]
        verdict = self.receiver.receive(Message(EPOCHS[epoch - 1], call_id, b"%d %d" % (number, life)))
        if isinstance(verdict, Run):
            if self.rules.keeps_busy and not self.busy:
                self.busy = True
                self.receiver.answered(verdict, KeptAnswer(503, "", b""))
                return
            if life and life != self.life and self.rules.compares_incarnation:
                self.receiver.answered(verdict, KeptAnswer(409, "", b""))
                verdict = Answer(KeptAnswer(409, "", b""))
            else:
                self.act(number, epoch, life)
                call.running = verdict
        if hears and self.session is not None and epoch == self.epoch:
            self.hear(number, verdict)

    def act(self, number: int, epoch: int, life: int) -> None:
        """Have the effect of a call, and judge the moment."""
        call = self.calls[number]
        call.effects.append((self.epoch, self.life))
        if len(call.effects) > 1:
            self.broken.append("an effect twice")
        if call.epoch != self.epoch:
            self.broken.append("an effect in a later epoch")
        if life and life != self.life:
            self.broken.append("an effect for another life")
        if call.state in {"not done", "done"}:
            self.broken.append("an effect after the outcome")
        if call.state == "given up":
            self.broken.append("an effect after its sender gave it up")

    def ends(self, number: int) -> None:
        """Let the operation of a call end at the receiver, with an answer."""
        call = self.calls[number]
        self.receiver.answered(call.running, KeptAnswer(200, "", b""))
        call.running = None

    def fails(self, number: int) -> None:
        """Let the operation of a call end at the receiver by an exception."""
        call = self.calls[number]
        if self.rules.answers_every_end:
            self.receiver.answered(call.running, KeptAnswer(500, "", b""))
        call.running = None

    # Either

    def sender_dies(self) -> None:
        """Let the sender die: its operations and its session are gone."""
        self.deaths += 1
        self.session = None
        for call in self.calls:
            if call.state in {"begun", "open", "asked on"}:
                call.state, call.slot = "ended", None

    def receiver_dies(self) -> None:
        """Let the receiver die: what it kept is gone. The sender's operations end with their epoch."""
        self.deaths += 1
        self.epoch, self.session = 0, None
        self.receiver = self.rules.make_receiver()
        for call in self.calls:
            call.running = None
            if call.state in {"open", "asked on"} or (call.state == "begun" and not self.rules.epoch_at_send):
                call.state, call.slot = "ended", None

    def waiting(self) -> bool:
        """Tell whether an operation waits for the outcome of a call in the current epoch."""
        return any(call.state in {"open", "asked on"} for call in self.calls)
