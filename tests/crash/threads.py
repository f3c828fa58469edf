"""Operations nested in each other by messages, performed one half of a yield at a time, until a side dies.

A yield has two moments. Before: the effect is wanted, and nothing of it is done; a message is on the wire.
After: it is done, and the operation does not know yet; an answer is on the wire.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from crash.wire import Machines, Message
from pef_kit.operations import PATIENCE, Ask, Effect, Operation, Pause, Transfer, Work
from pef_protocol.events import Side

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
    operation: Operation[Any]
    effect: Effect | None = None
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
        if not begun:
            self._resume(frame)

    @classmethod
    def begin(cls, machines: Machines, side: Side, operation: Operation[Any]) -> "Thread":
        """Begin an operation of `side`; it stands at its first yield, or has ended."""
        return cls(machines, Frame(side, operation))

    @property
    def ended(self) -> bool:
        """Tell whether its first operation has ended."""
        return not self._frames

    @property
    def moment(self) -> Moment:
        """Say where it stands."""
        frame = self._frames[-1]
        name = frame.effect.name if isinstance(frame.effect, Ask) else type(frame.effect).__name__
        return Moment(len(self._frames), frame.side, name, frame.done)

    def step(self) -> None:
        """Perform the effect that is wanted, or let the operation go on that does not know yet."""
        frame = self._frames[-1]
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
            if frame.waits_for is not None:
                frame.performed(failure=self._machines.lost(frame.waits_for))
        return [Thread(self._machines, frame, begun=True) for frame in left]

    def _perform(self, frame: Frame) -> None:
        effect = frame.effect
        match effect:
            case Ask():
                self._deliver(frame)
            case Transfer():
                self._machines.carry_out(effect)
                frame.performed()
            case Work(run):
                frame.performed(run())
            case Pause(attempt):
                frame.performed(attempt < PATIENCE - 1)

    def _deliver(self, frame: Frame) -> None:
        message = frame.waits_for
        assert message is not None
        try:
            operation = self._machines.receive(message)
        except Exception as refusal:  # noqa: BLE001 - the operation decides
            frame.performed(failure=refusal)
            return
        inner = Frame(message.to, operation)
        self._frames.append(inner)
        self._resume(inner)

    def _resume(self, frame: Frame) -> None:
        """Let the innermost operation run to its next yield, or to its end."""
        answer, failure = frame.answer, frame.failure
        frame.done, frame.answer, frame.failure, frame.waits_for = False, None, None, None
        try:
            effect = frame.operation.throw(failure) if failure else frame.operation.send(answer)
        except StopIteration as end:
            self._ended(end.value, None)
            return
        except Exception as reason:  # noqa: BLE001 - whoever asked is told
            self._ended(None, reason)
            return
        frame.effect = effect
        if isinstance(effect, Ask):
            frame.waits_for = self._machines.send(frame.side, effect)

    def _ended(self, outcome: Any, failure: Exception | None) -> None:
        self._frames.pop()
        if not self._frames:
            self.outcome, self.failure = outcome, failure
            return
        outer = self._frames[-1]
        if failure is not None and outer.waits_for is not None:
            failure = self._machines.lost(outer.waits_for)  # over HTTP: 500, and nobody knows what was done
        outer.performed(outcome, failure)


def run(threads: Iterable[Thread]) -> None:
    """Let threads go on, in turn, until all have ended; raise NeverEnds where one does not."""
    going = [thread for thread in threads if not thread.ended]
    for _ in range(LONGEST):
        if not going:
            return
        for thread in going:
            thread.step()
        going = [thread for thread in going if not thread.ended]
    raise NeverEnds(", ".join(str(thread.moment) for thread in going))
