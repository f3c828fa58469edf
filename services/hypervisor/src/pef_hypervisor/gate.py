"""The gate of a VM: which operations may begin, and which must come to their end.

| closed by | new operations and hypercalls | new exclusive operations | operations that are open |
|---|---|---|---|
| add a slot, remove a slot, H_SVM_INIT_START, H_SVM_INIT_DONE | begin | are busy | go on |
| H_SVM_INIT_ABORT | are busy | are busy, but for reset and destroy | end |
| reset, destroy | are busy | are busy | end |

The gate answers busy at once and queues nobody. Only the operation that closed it waits, and only for
operations of this side on the same VM. An operation that must end makes no further try and no further call:
its lease answers for it (`Life.ending` of its turn). Requests of the memory bus pass no gate.

Source: rule 12 of ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from pef_kit.core.life import Life
from pef_kit.operations import Operation, Pause


class Gate:
    """Counts the operations of one VM that are open; each holds a turn, which its lease looks at."""

    def __init__(self) -> None:
        self._turns: list[Life] = []
        self._exclusive: Life | None = None
        self._ending: Life | None = None

    @property
    def open(self) -> int:
        """Return how many operations are open."""
        return len(self._turns)

    @property
    def closed(self) -> bool:
        """Tell whether no operation may begin."""
        return self._ending is not None

    @property
    def taken(self) -> bool:
        """Tell whether no exclusive operation may begin."""
        return self._exclusive is not None or self._ending is not None

    @property
    def ends_for_good(self) -> bool:
        """Tell whether a reset or destroy is open, which no other one overtakes."""
        return self._ending is not None and self._ending is not self._exclusive

    @contextmanager
    def admitted(self, name: str = "an operation") -> Iterator[Life]:
        """Count an operation as open. The caller has seen that the gate is not closed."""
        turn = Life(name)
        self._turns.append(turn)
        try:
            yield turn
        finally:
            self._turns.remove(turn)

    @contextmanager
    def held(self, name: str) -> Iterator[Life]:
        """Keep other exclusive operations away. The caller has seen that none is open."""
        with self.admitted(name) as turn:
            self._exclusive = turn
            try:
                yield turn
            finally:
                self._exclusive = None

    @contextmanager
    def aborting(self, name: str) -> Iterator[Life]:
        """Let nobody in, and what is open end. The caller has seen that no exclusive operation is open."""
        with self.held(name) as turn, self._closed_by(turn):
            yield turn

    @contextmanager
    def ending(self, name: str) -> Iterator[Life]:
        """Let nobody in, and what is open end, exclusive operations included; for reset and destroy."""
        with self.admitted(name) as turn, self._closed_by(turn):
            yield turn

    @contextmanager
    def _closed_by(self, turn: Life) -> Iterator[None]:
        for other in self._turns:
            other.ending = other.ending or other is not turn
        self._ending = turn
        try:
            yield
        finally:
            if self._ending is turn:
                self._ending = None

    def alone(self) -> Operation[bool]:
        """Wait until the operation that closed the gate is the only open one; return whether it is."""
        for attempt in count():
            if len(self._turns) == 1:
                return True
            if not (yield Pause(attempt, patient=True)):
                break
        return False

    def copied(self) -> "Gate":
        """Return a gate at which the same operations are open."""
        other = Gate()
        other._turns, other._exclusive, other._ending = [*self._turns], self._exclusive, self._ending
        return other
