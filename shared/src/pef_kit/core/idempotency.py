"""What guests and VMMs asked for, and the answers, kept so that a request that is repeated acts once.

An `Idempotency-Key` names a request within its scope: who asks, as which incarnation, in which state. While
its operation is open, a repeat joins it; later it reads the answer. An operation also has an id of its own,
by which its outcome is read where a request was told that it is still open.

| bound | what |
|---|---|
| `MOST_OF_A_VM`, `MOST_OF_THE_VMM` | operations that are open or kept, of a VM and of the VMM |
| `KEPT_FOR` | seconds that an answer is kept, unless its VM ends before |
| `LONGEST_ANSWER` | bytes of an answer |

Where a VM has as many, and none is older, nothing is begun. What is kept of a VM goes with it, and is zeroed.

Source: rules 8 and 14 of ARCHITECTURE.md, "Identity and time".
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pef_protocol.http import Role
from pef_protocol.identity import Incarnation

MOST_OF_A_VM: Final = 256
MOST_OF_THE_VMM: Final = 4096
KEPT_FOR: Final = 3600.0
LONGEST_ANSWER: Final = 4096


class OtherRequest(Exception):
    """The key names another request of the same scope."""


class NoRoom(Exception):
    """There are as many operations, open or answered lately, as may be."""


class Scope(NamedTuple):
    """Within which a key names one request; the endpoint is the one that keeps it."""

    role: Role
    incarnation: Incarnation | None = None
    problem_state: bool = False


@dataclass(slots=True)
class OperationAnswer:
    """How a request was answered: HTTP status, media type, body."""

    status: int
    media_type: str
    body: bytearray = field(repr=False)


@dataclass(eq=False, slots=True)
class ClientOperation:
    """An operation: open until it has an `answer`."""

    operation: str
    scope: Scope
    key: str
    """Empty where the request has none."""
    fingerprint: bytes
    reported: bool = False
    """Somebody was told its id, and may ask for its outcome."""
    answer: OperationAnswer | None = None
    ended: float = 0.0
    """When it was answered (seconds)."""


@dataclass(slots=True)
class _Book:
    """What is kept of one VM, or of the VMM."""

    all: dict[str, ClientOperation] = field(default_factory=dict)
    answered: dict[str, ClientOperation] = field(default_factory=dict)
    """Those with an answer, the oldest first."""
    keyed: dict[tuple[Scope, str], ClientOperation] = field(default_factory=dict)

    def remove(self, kept: ClientOperation) -> None:
        self.all.pop(kept.operation, None)
        self.answered.pop(kept.operation, None)
        self.unkey(kept)
        if kept.answer is not None:
            kept.answer.body[:] = bytes(len(kept.answer.body))

    def unkey(self, kept: ClientOperation) -> None:
        if self.keyed.get((kept.scope, kept.key)) is kept:
            del self.keyed[kept.scope, kept.key]

    def forget_old(self, now: float) -> None:
        for kept in tuple(self.answered.values()):
            if now - kept.ended < KEPT_FOR:
                return
            self.remove(kept)


class ClientOperations:
    """The operations of all guests and of the VMM at one endpoint. Times are in seconds, of any clock."""

    def __init__(self) -> None:
        self._books: dict[tuple[Role, Incarnation | None], _Book] = {}

    def known(self, scope: Scope, key: str, fingerprint: bytes, now: float) -> ClientOperation | None:
        """Return the operation that `key` names; raise OtherRequest where that is for another request."""
        book = self._books.get((scope.role, scope.incarnation))
        if book is None:
            return None
        book.forget_old(now)
        kept = book.keyed.get((scope, key)) if key else None
        if kept is not None and kept.fingerprint != fingerprint:
            raise OtherRequest
        return kept

    def begin(self, scope: Scope, key: str, fingerprint: bytes, operation: str) -> ClientOperation:
        """Note that a request that is not `known` begins as `operation`; raise NoRoom where it must not."""
        book = self._books.setdefault((scope.role, scope.incarnation), _Book())
        if len(book.all) >= (MOST_OF_THE_VMM if scope.role is Role.VMM else MOST_OF_A_VM):
            raise NoRoom
        kept = book.all[operation] = ClientOperation(operation, scope, key, fingerprint)
        if key:
            book.keyed[scope, key] = kept
        return kept

    def end(self, kept: ClientOperation, answer: OperationAnswer, now: float, *, acted: bool) -> None:
        """Note the answer of an operation; where it did not act, its key may be used anew."""
        book = self._books.get((kept.scope.role, kept.scope.incarnation))
        if book is None or book.all.get(kept.operation) is not kept:
            return
        if not acted:
            book.unkey(kept)
        if kept.reported or (acted and kept.key):
            kept.answer, kept.ended = answer, now
            book.answered[kept.operation] = kept
            return
        book.remove(kept)
        if not book.all:
            del self._books[kept.scope.role, kept.scope.incarnation]

    def find(self, scope: Scope, operation: str, now: float) -> ClientOperation | None:
        """Return an operation of `scope` by its id, or None."""
        book = self._books.get((scope.role, scope.incarnation))
        if book is None:
            return None
        book.forget_old(now)
        kept = book.all.get(operation)
        return kept if kept is not None and kept.scope == scope else None

    def drop(self, incarnation: Incarnation) -> None:
        """Forget and zero all that is kept of a VM that ended."""
        book = self._books.pop((Role.GUEST, incarnation), _Book())
        for kept in tuple(book.all.values()):
            book.remove(kept)
