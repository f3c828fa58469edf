"""Operations: the handler of a call is a plain generator, and this is what it may yield.

| yielded | performed by | answered with |
|---|---|---|
| `PeerCall` | a call to the peer | its `Reply`; `PeerFailure` is thrown in where its outcome can't be had |
| `Transfer` | the memory bus | None, after `each` has seen every piece |
| `Offload` | a thread | what the function returns |
| `Turn` | letting everybody else have a turn | None |
| `Backoff` | waiting a little | whether to try again: False once the operation's time is over |
| `Phase` | nothing | None, at once: only a search looks at it, and may stop there |

A generator never awaits and never touches HTTP, so the same code runs in a service, under a linked pair in
one process, under an explorer that steps it, and under a fault injector.

Order: no lock is held across a yield, for there is none. What was checked before a yield is checked again
after it; a GFN that must not be moved by two calls at once bears a mark in its column meanwhile.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from pef_kit.core.life import Life
from pef_protocol.calls import Reply
from pef_protocol.identity import Incarnation

T = TypeVar("T")

MAX_ATTEMPTS: Final = 200
"""How many times an operation tries again what it was told is busy, before it gives up."""


class PeerFailure(Exception):
    """The peer gave no answer that the protocol knows: it names the call, the peer and the reason.

    Nobody knows whether the call was done, unless `done` is False: then it was refused as a message, and
    never will be.
    """

    def __init__(self, call: str, peer: str, reason: str, *, done: bool | None = None) -> None:
        super().__init__(f"{call} to {peer}: {reason}")
        self.call = call
        self.peer = peer
        self.reason = reason
        self.done = done


@dataclass(frozen=True, slots=True)
class PeerCall:
    """A call to the peer. `incarnation`: of the SVM that is meant. A lease fills in this and `lives`.

    Once the operation's time is over it is answered busy and not made, unless it is `ignore_deadline`.
    """

    name: str
    request: object
    incarnation: Incarnation | None = None
    lives: tuple[Life, ...] = field(default=(), repr=False, compare=False)
    """Those that the operation acts for, the innermost first: nobody asks again once one is over."""
    ignore_deadline: bool = field(default=False, compare=False)
    """For what must be done in the end."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes over the memory bus.

    `pieces` are (real address, bytes). `each(index, offset, view)` is called in threads, in any order and
    perhaps at once, with one or more views of each piece, from `offset` of it: to read them, or where
    `writes` to fill them. Where it reads, a view that can't be written is one of zeroes. A piece of whole
    pages is cut at page boundaries only. Where it `zeroes`, all that `each` would write are zeroes: a bus may
    give the pages back instead, and call it with no bytes.
    """

    pieces: Sequence[tuple[int, int]]
    each: Callable[[int, int, memoryview], None] = field(repr=False)
    writes: bool
    lives: tuple[Life, ...] = field(default=(), repr=False, compare=False)
    """As those of `PeerCall`."""
    zeroes: bool = field(default=False, repr=False)
    dense: bool = field(default=False, repr=False)
    """What is read has no holes worth a look, as ciphertext has none."""


@dataclass(frozen=True, slots=True)
class Offload:
    """Heavy work that touches nothing but memory marked for it."""

    run: Callable[[], Any] = field(repr=False)


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Turn(Offload):
    """Work that is nothing: between two parts of what is done to whole slots, others have a turn.

    It is performed at once, whatever time is left: what was begun on a slot is done to all of it.
    """

    run: Callable[[], Any] = field(default=nothing, repr=False)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Let others have a turn before trying again; `attempt` counts from 0.

    A `ignore_deadline` one is answered True for as long as the lease holds: for what must be done in the end.
    """

    attempt: int
    ignore_deadline: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """A long operation has come to its phase `name`; `failure` tells why, where that is not the next one.

    Every driver answers at once, so nobody else has a turn. A search may stop here: between two phases the
    operation holds no mark, and what it has done is all in the columns.
    """

    name: str
    failure: Exception | None = None


Effect: TypeAlias = PeerCall | Transfer | Offload | Backoff | Phase
Operation: TypeAlias = Generator[Effect, Any, T]
RunEffect: TypeAlias = Callable[[Effect], Awaitable[Any]]


def ask(name: str, request: object, *, ignore_deadline: bool = False) -> Operation[Reply]:
    """Call the peer and return its reply; `ignore_deadline`: also once time is over."""
    reply: Reply = yield PeerCall(name, request, ignore_deadline=ignore_deadline)
    return reply


def pause(attempt: int, *, ignore_deadline: bool = False) -> Operation[bool]:
    """Let others have a turn, and return whether to try again; `attempt` counts from 0."""
    again: bool = yield Backoff(attempt, ignore_deadline)
    return again
