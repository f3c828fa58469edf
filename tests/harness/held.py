"""An operation that is driven effect by effect, so that a test can act between two of them."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pef_kit.core.effects import MAX_ATTEMPTS, Backoff, Effect, Operation, PeerFailure
from pef_kit.core.lease import Ended

T = TypeVar("T")


class Held(Generic[T]):
    """An operation that stands before `effect`, or has ended with `outcome`."""

    def __init__(self, perform: Callable[[Effect], Any], operation: Operation[T]) -> None:
        self._perform = perform
        self._operation = operation
        self._outcome: list[T] = []
        self.effect: Effect | None = None
        self._resume(None, None)

    def _resume(self, answer: Any, failure: PeerFailure | Ended | None) -> None:
        try:
            self.effect = self._operation.throw(failure) if failure else self._operation.send(answer)
        except StopIteration as end:
            self.effect = None
            self._outcome.append(end.value)

    @property
    def ended(self) -> bool:
        """Tell whether the operation has ended."""
        return bool(self._outcome)

    @property
    def outcome(self) -> T:
        """Return the outcome of an operation that has ended."""
        return self._outcome[0]

    def step(self) -> "Held[T]":
        """Perform the effect at which the operation stands, and let it go on to the next one."""
        assert self.effect is not None
        try:
            answer = self._perform(self.effect)
        except (PeerFailure, Ended) as failure:
            self._resume(None, failure)
        else:
            self._resume(answer, None)
        return self

    def until(self, kind: type[Effect]) -> "Held[T]":
        """Go on until the operation stands before an effect of that kind."""
        while not isinstance(self.effect, kind):
            assert self.effect is not None, f"ended without a {kind.__name__}"
            self.step()
        return self

    def finish(self) -> T:
        """Go on to the end and return the outcome."""
        while not self.ended:
            self.step()
        return self.outcome


def may_go_on(pause: Backoff) -> bool:
    """Answer a pause as the runner does: yes until time is over, or always where the deadline is ignored."""
    assert not pause.ignore_deadline or pause.attempt < MAX_ATTEMPTS, (
        "an operation waits for what nobody ends"
    )
    return pause.ignore_deadline or pause.attempt < MAX_ATTEMPTS - 1
