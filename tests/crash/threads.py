"""Operations nested in each other by messages, performed one half of a yield at a time, until a side dies.

A yield has two moments. Before: the effect is wanted, and nothing of it is done; a message is on the wire.
After: it is done, and the operation does not know yet; an answer is on the wire.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from crash.hello import Exchange, Steps
from crash.wire import Machines
from pef_explorer.machines.wire import Message, NotDone, epoch_of
from pef_kit.core.effects import MAX_ATTEMPTS, Backoff, Effect, Offload, Operation, PeerCall, Phase, Transfer
from pef_kit.core.lease import Ended
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.problems import ProblemType

LONGEST: Final = 20_000
"""Half yields after which a set of operations counts as one that never ends."""


class NeverEnds(Exception):
    """Operations that go on for ever."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a side may die: at a yield of the innermost operation, before it is performed, or after."""

    depth: int
    side: Side
    effect: str
    done: bool

    def __str__(self) -> str:
        when = "after" if self.done else "before"
        return f"{when} {self.effect} of the {self.side.value} at depth {self.depth}"


@dataclass(eq=False, slots=True)
class Frame:
    """An operation of one side; `waits_for` is its call that is not answered yet."""

    side: Side
    operation: Steps[Any]
    effect: Effect | Exchange | None = None
    waits_for: Message | None = None
    done: bool = False
    answer: Any = None
    failure: Exception | None = None

    def performed(self, answer: Any = None, failure: Exception | None = None) -> None:
        """Note what the effect is answered with."""
        self.done, self.answer, self.failure = True, answer, failure


class Thread:
    """A stack of operations, each asked for by the one before; the last one runs."""

    def __init__(self, machines: Machines, frame: Frame, *, begun: bool = False) -> None:
        self._machines = machines
        self._frames = [frame]
        self.outcome: Any = None
        self.failure: Exception | None = None
        self.waits = False
        """Its message has no outcome yet, and it asks again."""
        if not begun:
            self._resume(frame)

    @classmethod
    def begin(cls, machines: Machines, side: Side, operation: Steps[Any]) -> "Thread":
        """Begin an operation of `side`; it stands at its first yield, or has ended."""
        return cls(machines, Frame(side, operation))

    @property
    def ended(self) -> bool:
        """Tell whether its first operation has ended."""
        return not self._frames

    @property
    def pauses(self) -> bool:
        """Tell whether it lets others have a turn."""
        return isinstance(self._frames[-1].effect, Backoff)

    @property
    def moment(self) -> Moment:
        """Say where it stands."""
        frame = self._frames[-1]
        name = (
            frame.effect.name
            if isinstance(frame.effect, PeerCall | Exchange)
            else type(frame.effect).__name__
        )
        return Moment(len(self._frames), frame.side, name, frame.done)

    def step(self) -> None:
        """Perform the effect that is wanted, or let the operation go on that does not know yet."""
        frame, self.waits = self._frames[-1], False
        if frame.done:
            self._resume(frame)
        else:
            self._perform(frame)

    def without(self, side: Side) -> list["Thread"]:
        """Return what goes on of it where `side` has died: each operation of the other side, on its own.

        The dead side's operations stay as they are, in this thread: whatever they hold is lost with them.
        """
        left = [frame for frame in self._frames if frame.side is not side]
        for frame in left:
            if frame.waits_for is not None or isinstance(frame.effect, Exchange):
                frame.done = False  # the answer is lost: it is asked for again
        return [Thread(self._machines, frame, begun=True) for frame in left]

    def _perform(self, frame: Frame) -> None:
        effect = frame.effect
        match effect:
            case PeerCall():
                self._deliver(frame)
            case Exchange():
                self._exchange(effect)
            case Transfer():
                self._carry_out(frame, effect)
            case Offload(run):
                frame.performed(run())
            case Backoff(attempt, ignore_deadline):
                frame.performed(ignore_deadline or attempt < MAX_ATTEMPTS - 1)

    def _carry_out(self, frame: Frame, transfer: Transfer) -> None:
        try:
            self._machines.carry_out(frame.side, transfer)
        except Ended as over:
            frame.performed(failure=over)
        else:
            frame.performed()

    def _deliver(self, frame: Frame) -> None:
        """Let a message arrive; where that has no outcome, it is sent again in the next step."""
        message, machines = frame.waits_for, self._machines
        assert message is not None
        over = next((life for life in message.ask.lives if not life.alive), None)
        self.waits = over is None and message.to in machines.down
        if over is not None:
            frame.performed(failure=Ended(over))
        if over is not None or self.waits:
            return
        try:
            arrived = machines.receive(message)
        except NotDone as refusal:
            self._refused(frame, message, refusal)
            return
        if isinstance(arrived, Reply):
            self._answered(frame, message, arrived)
        else:
            self._begin(message.to, arrived)

    def _exchange(self, exchange: Exchange) -> None:
        """Let a message of the link arrive; where nobody is there, it is sent again in the next step."""
        self.waits = exchange.to in self._machines.down
        if not self.waits:
            self._begin(exchange.to, exchange.arrive())

    def _begin(self, side: Side, operation: Operation[Any]) -> None:
        inner = Frame(side, operation)
        self._frames.append(inner)
        self._resume(inner)

    @staticmethod
    def _answered(frame: Frame, message: Message, reply: Reply) -> None:
        message.give_slot_back(received=True)
        frame.performed(reply)

    def _refused(self, frame: Frame, message: Message, refusal: NotDone) -> None:
        outcome = self._machines.outcome(message, refusal)
        self.waits = outcome is None
        if outcome is not None:
            used_up = {ProblemType.BROKEN, ProblemType.OTHER_INCARNATION}
            message.give_slot_back(received=refusal.kind in used_up)
            frame.performed(failure=outcome)

    def _resume(self, frame: Frame) -> None:
        """Let the innermost operation run to its next yield, or to its end."""
        answer, failure = frame.answer, frame.failure
        frame.done, frame.answer, frame.failure, frame.waits_for = False, None, None, None
        try:
            effect = frame.operation.throw(failure) if failure else frame.operation.send(answer)
            while isinstance(effect, Phase):
                effect = frame.operation.send(None)
        except StopIteration as end:
            self._ended(end.value, None)
            return
        except Exception as reason:  # noqa: BLE001 - whoever asked is told
            self._ended(None, reason)
            return
        frame.effect = effect
        if isinstance(effect, PeerCall):
            frame.waits_for = self._machines.send(effect, len(self._frames), epoch=epoch_of(effect))
        elif isinstance(effect, Exchange):
            self._machines.messages.append(effect)

    def _ended(self, outcome: Any, failure: Exception | None) -> None:
        self._frames.pop()
        if not self._frames:
            self.outcome, self.failure = outcome, failure
            return
        outer = self._frames[-1]
        message = outer.waits_for
        if message is None:  # of the link
            outer.performed(outcome, failure)
            return
        if failure is not None:
            refusal = failure if isinstance(failure, NotDone) else NotDone(ProblemType.BROKEN)
            self._refused(outer, message, refusal)
            return
        self._answered(outer, message, outcome)


def run(threads: Iterable[Thread], meanwhile: Iterable[Thread] = ()) -> None:
    """Let threads go on, in turn, until all have ended, or wait for a side that is not there.

    Those of `meanwhile` go on while the others pause. Raise NeverEnds where one does not end.
    """
    beside = list(meanwhile)
    going = [thread for thread in threads if not thread.ended]
    for _ in range(LONGEST):
        for thread in going:
            if thread.pauses:
                for other in beside:
                    if not other.ended:
                        other.step()
            thread.step()
        going = [thread for thread in going if not thread.ended]
        if all(thread.waits for thread in going):
            return
    raise NeverEnds(", ".join(str(thread.moment) for thread in going))
