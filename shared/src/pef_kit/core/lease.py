"""Leases: an operation acts for a life - an epoch, a VM, an SVM - and no longer than that life lasts.

A number that names a VM is given to another one later. So an operation holds the object, and `leased` looks
at it before and after every effect: once the life is over, `Ended` is thrown into the operation, which may
only take its own marks and reservations off. It makes no call, moves no byte and changes nothing else.

An operation that may finish nothing more than it has begun - because what it acts for is about to end - is
`ending`: its pauses are answered False and its calls with busy, without being performed. So it ends soon, and
by itself.

`Life.moving` counts the effects that move bytes for a life and are outstanding. Whoever ends a life waits for
these, and only for these, before memory is scrubbed or handed over.

Source: rules 10, 12 and 13 of ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, TypeVar, overload

from pef_kit.core.effects import Backoff, Effect, Offload, Operation, PeerCall, Transfer
from pef_kit.core.life import Ended, Life
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import HCode, UCode

__all__ = ["Ended", "Leased", "Life", "leased"]

T = TypeVar("T")


class Leased(Generator[Effect, Any, T]):
    """An operation that goes on only as long as all its `lives` last.

    It is a class, not a generator, so that a search can look through it at where `operation` stands.
    """

    def __init__(self, operation: Operation[T], lives: tuple[Life, ...]) -> None:
        self.operation = operation
        self.lives = lives
        self._moves = False
        self._reported = False

    def send(self, value: Any) -> Effect:
        """Go on with the answer to the last effect, or end where a life is over."""
        self._arrived()
        return self._step(lambda: self.operation.send(value))

    @overload
    def throw(
        self, kind: type[BaseException], value: object = None, trace: TracebackType | None = None, /
    ) -> Effect: ...
    @overload
    def throw(
        self, kind: BaseException, value: None = None, trace: TracebackType | None = None, /
    ) -> Effect: ...
    def throw(self, kind: Any, value: Any = None, trace: Any = None, /) -> Effect:
        """Go on with the failure of the last effect, or end where a life is over."""
        self._arrived()
        failure = kind if isinstance(kind, BaseException) else (value or kind())
        return self._step(lambda: self.operation.throw(failure))

    def close(self) -> None:
        """Give the operation up: it takes its marks off."""
        self._arrived()
        self.operation.close()

    def _arrived(self) -> None:
        """Note that the last effect is no longer outstanding."""
        if self._moves:
            self._moves = False
            for life in self.lives:
                life.moving -= 1

    def _step(self, resume: Callable[[], Effect]) -> Effect:
        over = self._over()
        effect = self.operation.throw(self._end(over)) if over else resume()
        while True:
            # The step itself may have ended a life; and an operation that was told so may not yield again.
            if over := self._over():
                effect = self.operation.throw(self._end(over))
            elif isinstance(effect, Backoff) and self._ending():
                effect = self.operation.send(False)
            elif isinstance(effect, PeerCall) and self._ending():
                effect = self.operation.send(_busy(effect.name))
            else:
                break
        if isinstance(effect, Transfer | Offload):
            self._moves = True
            for life in self.lives:
                life.moving += 1
        return self._of_this_life(effect)

    def _over(self) -> Life | None:
        for life in self.lives:  # loops, for this runs at every step of every operation
            if not life.alive:
                return life
        return None

    def _ending(self) -> bool:
        return any(life.ending for life in self.lives)

    def _end(self, life: Life) -> Ended:
        if self._reported:
            self.operation.close()
            raise Ended(life)
        self._reported = True
        return Ended(life)

    def _of_this_life(self, effect: Effect) -> Effect:
        """Name the incarnation in a call to the peer; have a transfer stop once a life is over."""
        if isinstance(effect, PeerCall):
            named = effect.incarnation or next(
                (life.incarnation for life in self.lives if life.incarnation), None
            )
            return PeerCall(
                effect.name, effect.request, named, (*effect.lives, *self.lives), effect.ignore_deadline
            )
        if isinstance(effect, Transfer):
            each, check = effect.each, self._require_alive

            def while_alive(index: int, offset: int, view: memoryview) -> None:
                check()
                each(index, offset, view)

            lives = (*effect.lives, *self.lives)
            return Transfer(effect.pieces, while_alive, effect.writes, lives, effect.zeroes, effect.dense)
        return effect

    def _require_alive(self) -> None:
        if over := self._over():
            raise Ended(over)


def _busy(name: str) -> Reply:
    """Return the answer to a call that is not made: busy, for nothing was done."""
    return Reply(UCode.U_BUSY if CALLS[name].is_ultracall else HCode.H_BUSY, detail="not sent")


def leased(operation: Operation[T], *lives: Life) -> Operation[T]:
    """Return `operation` under a lease on `lives`; see `Leased`."""
    return Leased(operation, lives)
