"""An operation of either side, stepped one yield at a time, with the peer's operations nested in it.

| pending | `go_on` performs |
|---|---|
| `REQUEST` | the peer's handler begins, and runs to its first yield or its end |
| `REPLY` | the caller is given the answer, and goes on |
| `TRANSFER`, `WORK` | the bytes are moved, or the work is done, and the operation goes on |
| `PAUSE` | the operation tries again |

Between two steps any other actor may act. There is no other concurrency here.
"""

from collections.abc import Callable
from copy import copy
from enum import StrEnum
from types import GeneratorType
from typing import Any, Final, Self

from pef_explorer.machines.faults import Fault, refusal
from pef_explorer.machines.plain import plain
from pef_explorer.machines.small_esm import OnePhase
from pef_explorer.machines.wire import SENDERS, Message, NotDone, Wire, epoch_of
from pef_kit.core.effects import (
    Backoff,
    Effect,
    Offload,
    Operation,
    PeerCall,
    PeerFailure,
    Phase,
    Transfer,
    Turn,
)
from pef_kit.core.lease import Leased
from pef_kit.core.life import Ended
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.problems import ProblemType


class Pending(StrEnum):
    """What an open call waits for; the words of a schedule's `next_state`."""

    REQUEST = "asks"
    REPLY = "answers"
    TRANSFER = "moves pages"
    WORK = "works"
    PAUSE = "waits"
    ENDED = "ends"


TRIES: Final = "attempt"
"""The local name of every loop that counts how often something was tried: it says nothing of the state."""

MOST_STEPS: Final = 200
"""Steps of an operation that nobody else acts beside: one that has not ended by then waits for somebody."""


class OpenCall:
    """One operation under way. `outcome` is what it returned or raised, once `pending` is ENDED.

    Each operation of the stack but the last waits for the outcome of a message, and so may the last. `effect`
    is what `go_on` performs.
    """

    __slots__ = ("_stack", "_wire", "effect", "outcome", "outstanding", "pending", "side", "trail")

    def __init__(self, operation: Operation[Any], wire: Wire, side: Side = Side.HYPERVISOR) -> None:
        self._wire = wire
        self.side = side
        """Whose the outermost operation is."""
        self._stack: list[Operation[Any]] = [operation]
        self.outstanding: list[Message] = []
        """Those that have no outcome yet, each sent by the operation at its place."""
        self.effect: Effect | Reply | Exception | None = None
        self.outcome: Any = None
        self.pending = Pending.PAUSE
        self.trail: tuple[Any, ...] = ()
        """What brought it where it is: with the stores, all that decides how it goes on."""
        self._resume(None)

    @property
    def asked(self) -> PeerCall | None:
        """Return the request that is on its way, or None."""
        return self.effect if isinstance(self.effect, PeerCall) else None

    @property
    def depth(self) -> int:
        """Count the operations that are nested in each other."""
        return len(self._stack)

    @property
    def message(self) -> Message | None:
        """Return the message of the innermost operation that has no outcome yet, or None."""
        return self.outstanding[-1] if len(self.outstanding) == len(self._stack) else None

    def described(self) -> str:
        """Say what it waits for, in the words of a schedule."""
        if isinstance(self.effect, PeerCall):
            return f"asks {self.effect.name}"
        if isinstance(self.effect, Reply):
            return f"answers {self.effect.code.name}"
        return "answers nothing" if isinstance(self.effect, Exception) else self.pending.value

    def go_on(self, fault: Fault | None = None) -> None:
        """Perform what is pending; `fault` befalls the request, or the answer, that is pending."""
        effect = self.effect
        if isinstance(effect, PeerCall):
            self._deliver(effect, fault)
        elif fault is Fault.ANSWER_LOST and self.message is not None:
            self.effect, self.pending = self.message.ask, Pending.REQUEST
            self._note("again")
        elif isinstance(effect, Reply | Exception):
            self._settle(effect)
            self._resume(effect)
        elif isinstance(effect, Transfer):
            try:
                self._wire.carry_out(self._side(len(self._stack) - 1), effect)
            except Ended as over:  # its life is over: no byte of it moves any more
                self._resume(over)
            else:
                self._resume(None)
        elif isinstance(effect, Offload):
            self._resume(effect.run())
        else:
            self._resume(True)  # time never runs out here: what is tried again can be tried again

    def _side(self, place: int) -> Side:
        """Return whose the operation at that place of the stack is."""
        return self.side if place % 2 == 0 else SENDERS[self.side]

    def without(self, dead: Side) -> list[Self]:
        """Return what goes on once a side has died: each operation of the other one, on its own.

        An operation that waits for an answer asks again. What the dead side was doing stays where it stood.
        """
        left: list[Self] = []
        for place, operation in enumerate(self._stack):
            if self._side(place) is dead:
                continue
            alone = copy(self)
            alone.go_alone(operation, self._side(place), self.outstanding[place : place + 1])
            left.append(alone)
        return left

    def go_alone(self, operation: Operation[Any], side: Side, waits_for: list[Message]) -> None:
        """Become the call of one operation; a message that has no outcome is sent again."""
        self.side, self._stack, self.outstanding = side, [operation], waits_for
        if waits_for:
            self.effect, self.pending = waits_for[0].ask, Pending.REQUEST

    def close(self) -> None:
        """Give the call up: every operation of it ends as if its caller had gone."""
        for operation in reversed(self._stack):
            operation.close()

    def _deliver(self, ask: PeerCall, fault: Fault | None) -> None:
        if fault is Fault.LOST:
            self._answer(PeerFailure(ask.name, "peer", "no answer"))
            return
        if fault in {Fault.REFUSED, Fault.BUSY}:
            self._answer(refusal(ask, fault))
            return
        message = self.message
        if message is None:
            message = self._send(ask, fault)
            self.outstanding.append(message)
        if fault is Fault.KEPT:
            self._wire.keep(message)
        try:
            if fault is Fault.DOUBLED:
                self._once(message)
            arrived = self._wire.receive(message)
        except NotDone as reason:
            self._refuse(message, reason)
            return
        if isinstance(arrived, Reply):
            self._answer(arrived)
            return
        self._stack.append(arrived)
        self._resume(None)

    def _send(self, ask: PeerCall, fault: Fault | None) -> Message:
        if fault is Fault.DOUBLED:
            return self._wire.send_without_slot(ask)
        return self._wire.send(ask, len(self._stack), epoch=epoch_of(ask))

    def _once(self, message: Message) -> None:
        """Let a message without a slot act before it acts again; one that only waits is given up."""
        arrived = self._wire.receive(message)
        if not isinstance(arrived, Reply):
            once = OpenCall(arrived, self._wire, message.to)
            for _ in range(MOST_STEPS):
                if once.pending is Pending.ENDED:
                    return
                once.go_on()
            once.close()

    def _refuse(self, message: Message, reason: NotDone) -> None:
        """Give the caller the refusal of its message; where that is no outcome, it asks again."""
        outcome = self._wire.outcome(message, reason)
        over = next((life for life in message.ask.lives if not life.alive), None)
        if outcome is None and over is not None:
            outcome = Ended(over)
        if outcome is None:
            self.effect, self.pending = message.ask, Pending.REQUEST
            return
        self._answer(outcome)

    def _settle(self, outcome: Reply | Exception) -> None:
        """Take the slot of a message back, whose outcome is about to be read."""
        if self.message is not None:
            refused = isinstance(outcome, PeerFailure) and outcome.done is False
            used_up = not refused or str(outcome).endswith(ProblemType.OTHER_INCARNATION.name)
            self.outstanding.pop().give_slot_back(received=used_up)

    def _answer(self, reply: Reply | Exception) -> None:
        self.effect, self.pending = reply, Pending.REPLY
        if isinstance(reply, Reply):
            known: Any = (int(reply.code), reply.refused.words)
        else:
            known = "nothing" if getattr(reply, "done", None) is None else "refused"
        self._note(known)

    def _resume(self, answer: Any) -> None:
        """Let the innermost operation run to its next yield or its end."""
        operation = self._stack[-1]
        try:
            failed = isinstance(answer, Exception)
            effect = operation.throw(answer) if failed else operation.send(answer)
            while isinstance(effect, Phase):
                effect = operation.send(None)
        except StopIteration as end:
            self._ended(end.value)
            return
        except NotDone as reason:
            if len(self._stack) == 1:
                self._ended(reason)
                return
            self._stack.pop()
            self._refuse(self.outstanding[-1], reason)
            return
        except Exception as failure:
            if len(self._stack) > 1:
                raise
            self._ended(failure)
            return
        self.effect = effect
        self.pending = PENDING_ON[type(effect)]
        self._note_place()

    def _note(self, what: Any) -> None:
        """Remember what the innermost operation has received."""
        self.trail = (*self.trail, what)

    def _note_place(self) -> None:
        """Remember where the innermost operation has come to."""
        if self.pending is Pending.PAUSE:
            self._fold(self._position())
        else:
            self._note((len(self._stack), self.pending.value))

    def _ended(self, outcome: Any) -> None:
        self._stack.pop()
        if self._stack:
            self._answer(outcome)
            return
        self.outcome, self.pending, self.effect = outcome, Pending.ENDED, None

    def _fold(self, position: tuple[Any, ...]) -> None:
        """Keep nothing of a round that led back to the same pause: what was tried in vain left no trace."""
        if position in self.trail:
            self.trail = self.trail[: self.trail.index(position) + 1]
        else:
            self.trail = (*self.trail, position)

    def _position(self) -> tuple[Any, ...]:
        """Return where the innermost operation stands, with the values of its locals."""
        standing: list[Any] = [len(self._stack)]
        at: Any = self._stack[-1]
        while True:
            if isinstance(at, Leased | OnePhase):
                at = at.operation
                continue
            if not isinstance(at, GeneratorType) or at.gi_frame is None:
                break
            frame = at.gi_frame
            names = frame.f_locals
            standing.append((frame.f_code.co_qualname, frame.f_lasti))
            standing.extend(plain(value) for name, value in names.items() if name != TRIES)
            at = at.gi_yieldfrom
        return tuple(standing)


PENDING_ON: Final[dict[type, Pending]] = {
    PeerCall: Pending.REQUEST,
    Transfer: Pending.TRANSFER,
    Offload: Pending.WORK,
    Turn: Pending.WORK,
    Backoff: Pending.PAUSE,
}


def run_to_end(call: OpenCall, stop: Callable[[], bool] = lambda: False) -> Any:
    """Let a call go on until it ends, or `stop` says so; return its outcome."""
    while call.pending is not Pending.ENDED and not stop():
        call.go_on()
    return call.outcome
