"""A call under way in the simulation: `OpenCall` as it is, and what a dropped connection does to it."""

from copy import copy
from typing import Any, Final, Self

from pef_explorer.simulation.events import Start
from pef_explorer.stepping import Fault, OpenCall, Pending, Wire
from pef_kit.core.life import OtherIncarnation
from pef_kit.operations import PATIENCE, Ask, Operation, Pause, PeerFailure, Transfer, Turn, Work

ULTRAVISOR: Final = "ultravisor"
HYPERVISOR: Final = "hypervisor"
OTHER: Final = {ULTRAVISOR: HYPERVISOR, HYPERVISOR: ULTRAVISOR}
DROPPED: Final = PeerFailure("a call", "peer", "the connection dropped")
AT_REST: Final = frozenset({Pending.PAUSE, Pending.TRANSFER, Pending.WORK})
_KINDS: Final[dict[type, Pending]] = {
    Ask: Pending.REQUEST,
    Transfer: Pending.TRANSFER,
    Work: Pending.WORK,
    Turn: Pending.WORK,
    Pause: Pending.PAUSE,
}


class Chain(OpenCall):
    """An operation and those that are nested in it; `side` is that of the outermost.

    `start` is the action that it belongs to. Where it is not `heard`, nobody hears how it ends: it is what is
    left of a call whose asker is gone, or the first copy of a doubled request.
    """

    __slots__ = ("first", "heard", "messages", "side", "start", "steps", "then")

    def __init__(
        self, operation: Operation[Any], wire: Wire, side: str, start: Start, *, heard: bool
    ) -> None:
        self.side = side
        self.start = start
        self.heard = heard
        self.first: Chain | None = None
        """The first copy of a doubled request, which must end before the second arrives."""
        self.then: Chain | None = None
        self.messages = 0
        self.steps = 0
        super().__init__(operation, wire)

    @property
    def on_its_way(self) -> bool:
        """Tell whether a message is what is pending."""
        return self.pending in {Pending.REQUEST, Pending.REPLY}

    def lose(self) -> None:
        """Lose the message that is on its way: whoever asked hears nothing."""
        if self.on_its_way:
            self._effect, self.pending = PeerFailure("a call", "peer", "no answer"), Pending.REPLY

    def doubled(self) -> "Chain | None":
        """Begin the first copy of the request that is on its way; None where none is."""
        ask = self.asked
        if ask is None:
            return None
        side = self.side if len(self._stack) % 2 == 0 else OTHER[self.side]
        try:
            first = Chain(self._wire.handler(ask), self._wire, side, self.start, heard=False)
        except OtherIncarnation:  # refused at once, and nothing goes on
            return None
        first.then, self.first = self, first
        return first

    def drop(self, restarted: str) -> list[Self]:
        """Cut every connection; return what goes on by itself, with nobody who would hear it.

        What the restarted side was doing for its peer is given up where it stands at a rest or a transfer.
        """
        if len(self._stack) == 1:
            self.lose()
            return []
        rest, innermost = self._stack[1:], self._stack[-1]
        effect, pending = self._effect, self.pending
        self._stack = self._stack[:1]
        self._effect, self.pending = DROPPED, Pending.REPLY
        left: list[Self] = []
        side = self.side
        for operation in rest:
            side = OTHER[side]
            if operation is innermost and side == restarted and pending in AT_REST:
                operation.close()
                continue
            orphan = copy(self)
            if operation is innermost and pending in AT_REST:
                orphan.go_alone(operation, side, effect, pending)
            else:
                orphan.go_alone(operation, side, DROPPED, Pending.REPLY)
            left.append(orphan)
        return left

    def go_alone(self, operation: Operation[Any], side: str, effect: Any, pending: Pending) -> None:
        """Become the chain of one operation that waits for `effect`, and that nobody will hear."""
        self._stack, self._effect, self.pending = [operation], effect, pending
        self.side, self.heard = side, False
        self.first = self.then = None
        self.messages = self.steps = 0

    def go_on(self, fault: Fault | None = None) -> None:
        """Perform what is pending. Time is over for what was tried `PATIENCE` times.

        What waits for a VM that must be reset is busy until somebody resets it.
        """
        if isinstance(self._effect, Pause):
            self._resume(self._effect.patient or self._effect.attempt < PATIENCE - 1)
        else:
            super().go_on(fault)

    def _answer(self, reply: Any) -> None:
        self._effect, self.pending = reply, Pending.REPLY

    def _resume(self, answer: Any) -> None:
        """Let the innermost operation run to its next yield or its end; keep no trail of it."""
        operation = self._stack[-1]
        try:
            throws = isinstance(answer, PeerFailure)
            effect = operation.throw(answer) if throws else operation.send(answer)
        except StopIteration as end:
            self._ended(end.value)
        except PeerFailure as failure:
            self._ended(failure)
        except OtherIncarnation as reason:
            self._ended(PeerFailure("a call", "peer", str(reason), done=False))
        except Exception as failure:
            if len(self._stack) > 1 or not self.heard:
                raise
            self._ended(failure)
        else:
            self._effect = effect
            self.pending = _KINDS[type(effect)]
