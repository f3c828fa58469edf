"""Runs operations in a service: drives each generator, and performs the effects that it yields."""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from typing import Any, Final, TypeAlias, TypeVar, assert_never

from pef_kit.core.effects import (
    MAX_ATTEMPTS,
    Backoff,
    Effect,
    Offload,
    Operation,
    PeerCall,
    Phase,
    RunEffect,
    Transfer,
    Turn,
)
from pef_kit.runtime.bus import Bus
from pef_kit.runtime.peer import Peer
from pef_kit.runtime.trace import CURRENT, CallContext, Observer
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import HCode, UCode

T = TypeVar("T")

Precondition: TypeAlias = Callable[[], None]
"""Raises where an operation must not begin."""

FIRST_BACKOFF: Final = 0.0005
LONGEST_BACKOFF: Final = 0.05


def time_is_over() -> bool:
    """Tell whether the caller of the current operation has stopped waiting."""
    deadline = (CURRENT.get() or CallContext()).deadline
    return deadline is not None and asyncio.get_running_loop().time() >= deadline


class EffectRunner:
    """Asks the peer, moves bytes over the bus, works in threads, and waits."""

    def __init__(self, peer: Peer, bus: Bus, threads: Executor, observer: Observer) -> None:
        self._peer = peer
        self._bus = bus
        self._threads = threads
        self._observer = observer

    async def __call__(self, effect: Effect) -> Any:
        """Perform one effect and return its answer."""
        match effect:
            case PeerCall(name):
                # Order: once the caller's time is over nothing more is begun. Busy: nothing was done.
                if time_is_over() and not effect.ignore_deadline:
                    return Reply(UCode.U_BUSY if CALLS[name].is_ultracall else HCode.H_BUSY)
                return await self._peer.call(effect)
            case Transfer(pieces=pieces, writes=writes):
                await self._bus.perform(effect)
                way = "to normal memory" if writes else "from normal memory"
                self._observer.moved.labels(way).inc(sum(length for _, length in pieces))
                return None
            case Turn():
                await asyncio.sleep(0)
                return None
            case Offload(run):
                return await asyncio.get_running_loop().run_in_executor(self._threads, run)
            case Backoff(attempt, ignore_deadline):
                await asyncio.sleep(min(LONGEST_BACKOFF, FIRST_BACKOFF * (attempt + 1)))
                return ignore_deadline or (attempt < MAX_ATTEMPTS - 1 and not time_is_over())
            case Phase():
                return None
            case _:
                assert_never(effect)


async def drive(operation: Operation[T], perform: RunEffect) -> T:
    """Run an operation to its end, performing what it yields.

    Whatever goes wrong outside is thrown into the operation, so that it leaves a defined state behind.
    """
    answer: Any = None
    failure: Exception | None = None
    try:
        while True:
            try:
                effect = operation.throw(failure) if failure else operation.send(answer)
            except StopIteration as end:
                outcome: T = end.value
                return outcome
            try:
                answer, failure = await perform(effect), None
            except Exception as reason:  # noqa: BLE001 - the operation decides
                answer, failure = None, reason
    finally:
        operation.close()


class OperationRunner:
    """Runs the operations of a service, and counts their steps."""

    def __init__(self, perform: RunEffect) -> None:
        self.perform = perform
        self.steps = 0
        """As long as it is the same, nothing has changed."""

    async def run(self, operation: Operation[T]) -> T:
        """Drive an operation to its end."""

        async def performed(effect: Effect) -> Any:
            try:
                return await self.perform(effect)
            finally:
                self.steps += 1

        self.steps += 1
        return await drive(operation, performed)


def begun_if(check: Precondition | None, operation: Operation[T]) -> Operation[T]:
    """Begin `operation` only if `check` passes at its first step: a task begins later than it is made."""
    if check is None:
        return operation

    def checked() -> Generator[Effect, Any, T]:
        try:
            check()
        except BaseException:
            operation.close()
            raise
        return (yield from operation)

    return checked()
