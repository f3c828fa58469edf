"""An operation with all that is nested in it, stepped one yield at a time; either side's, leased or not.

Between two steps anybody else may act. What the peer's operation yields is a yield of the whole stack.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from interleavings.machines import Machines
from pef_explorer.machines.open_call import PENDING_ON, Pending
from pef_kit.core.effects import (
    Backoff,
    Effect,
    Offload,
    Operation,
    PeerCall,
    PeerFailure,
    Phase,
    Transfer,
)
from pef_kit.core.life import Ended, OtherIncarnation
from pef_protocol.calls import CALLS, Reply
from pef_protocol.events import Side

ATTEMPTS: Final = 3
"""How often a pause is answered with "go on" before time is over."""
LIMIT: Final = 2000
"""Steps after which an operation is called stuck."""


@dataclass(slots=True)
class Level:
    """One operation of a stack. `svm` and `vm`: the objects that it is for, as it began, if they were."""

    name: str
    side: Side
    lpid: int
    operation: Operation[Any]
    svm: object
    vm: object


class Stack:
    """An operation that was begun, and everything nested in it.

    `yielded` counts the yields of all; `asked` has what each level was after it was told to go on.
    """

    def __init__(
        self, machines: Machines, name: str, side: Side, lpid: int, operation: Operation[Any]
    ) -> None:
        self.machines = machines
        self.levels: list[Level] = []
        self.waits = Pending.PAUSE
        self.outcome: Any = None
        self.effect: Effect | Reply | PeerFailure | None = None
        self.ran: set[str] = set()
        self.pauses = 0
        """Pauses so far, of all that was nested."""
        self.on_effect: Callable[[Level, Effect], None] = lambda level, effect: None
        self._push(name, side, lpid, operation)
        self._resume(None)

    @property
    def ended(self) -> bool:
        """Tell whether the outermost operation has ended."""
        return self.waits is Pending.ENDED

    @property
    def names(self) -> list[str]:
        """Return the operations that are open, outermost first."""
        return [level.name for level in self.levels]

    def reported(self) -> str:
        """Say where the stack stands."""
        what = self.effect.name if isinstance(self.effect, PeerCall) else self.waits.value
        return " > ".join([*self.names, what])

    def go_on(self) -> None:
        """Do what the innermost operation waits for, and let it run to its next yield."""
        effect = self.effect
        match effect:
            case PeerCall():
                request: Any = effect.request
                side = Side.ULTRAVISOR if CALLS[effect.name].is_ultracall else Side.HYPERVISOR
                try:
                    operation = self.machines.handler(effect)
                except OtherIncarnation as reason:
                    self._answer(_failure(effect.name, reason))
                    return
                self._push(effect.name, side, int(request.lpid), operation)
                self._resume(None)
            case Transfer():
                self._do(lambda: self.machines.carry_out(effect))
            case Offload():
                self._do(effect.run)
            case Backoff():
                self._resume(effect.ignore_deadline or effect.attempt < ATTEMPTS)
            case _:
                self._resume(effect)

    def _push(self, name: str, side: Side, lpid: int, operation: Operation[Any]) -> None:
        svm, vm = self.machines.uv.svm(lpid), self.machines.hv.store.vms.get(lpid)
        self.levels.append(Level(name, side, lpid, operation, svm, vm))
        self.ran.add(name)

    def _do(self, run: Callable[[], Any]) -> None:
        try:
            done = run()
        except Exception as failure:  # noqa: BLE001 - the operation decides
            self._resume(failure)
            return
        self._resume(done)

    def _resume(self, answer: Any) -> None:
        level = self.levels[-1]
        if level.svm is None:
            level.svm = self.machines.uv.svm(level.lpid)
        try:
            failed = isinstance(answer, Exception)
            effect = level.operation.throw(answer) if failed else level.operation.send(answer)
            while isinstance(effect, Phase):
                effect = level.operation.send(None)
        except StopIteration as end:
            self._return(end.value)
        except Exception as failure:  # noqa: BLE001 - it is the outcome
            self._return(failure)
        else:
            if level.svm is None:
                level.svm = self.machines.uv.svm(level.lpid)
            self.pauses += isinstance(effect, Backoff)
            self.effect, self.waits = effect, PENDING_ON[type(effect)]
            self.on_effect(level, effect)

    def _return(self, outcome: Any) -> None:
        level = self.levels.pop()
        if not self.levels:
            self.outcome, self.waits, self.effect = outcome, Pending.ENDED, None
            return
        self._answer(_failure(level.name, outcome) if isinstance(outcome, Exception) else outcome)

    def _answer(self, outcome: Reply | PeerFailure) -> None:
        self.effect, self.waits = outcome, Pending.REPLY


def _failure(name: str, reason: Exception) -> PeerFailure:
    """Say how a message fails whose operation raised: one for a life that is over is refused, as by 409.

    Everything else is the peer's 500: nobody can say what was done.
    """
    done = False if isinstance(reason, Ended | OtherIncarnation) else None
    return PeerFailure(name, "peer", f"{type(reason).__name__}: {reason}", done=done)
