"""Performs, in a running service, what operations yield."""

import asyncio
from concurrent.futures import Executor
from typing import Any, Final, assert_never

from pef_kit.bus import Bus
from pef_kit.observers import CURRENT, CallContext, Observer
from pef_kit.operations import PATIENCE, Ask, Effect, Pause, Phase, Transfer, Turn, Work
from pef_kit.peer import Peer
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import HCode, UCode

FIRST_PAUSE: Final = 0.0005
LONGEST_PAUSE: Final = 0.05


def time_is_over() -> bool:
    """Tell whether the caller of the current operation has stopped waiting."""
    deadline = (CURRENT.get() or CallContext()).deadline
    return deadline is not None and asyncio.get_running_loop().time() >= deadline


class Performer:
    """Asks the peer, moves bytes over the bus, works in threads, and waits."""

    def __init__(self, peer: Peer, bus: Bus, threads: Executor, observer: Observer) -> None:
        self._peer = peer
        self._bus = bus
        self._threads = threads
        self._observer = observer

    async def __call__(self, effect: Effect) -> Any:
        """Perform one effect and return its answer."""
        match effect:
            case Ask(name):
                # Order: once the caller's time is over nothing more is begun. Busy: nothing was done.
                if time_is_over() and not effect.patient:
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
            case Work(run):
                return await asyncio.get_running_loop().run_in_executor(self._threads, run)
            case Pause(attempt, patient):
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * (attempt + 1)))
                return patient or (attempt < PATIENCE - 1 and not time_is_over())
            case Phase():
                return None
            case _:
                assert_never(effect)
