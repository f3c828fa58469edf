"""Performs, in a running service, what operations yield."""

import asyncio
from concurrent.futures import Executor
from typing import Any, Final, assert_never

from pef_kit.bus import Bus
from pef_kit.observers import Observer
from pef_kit.operations import Ask, Effect, Pause, Transfer, Work
from pef_kit.peer import Peer

FIRST_PAUSE: Final = 0.0005
LONGEST_PAUSE: Final = 0.05


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
            case Ask(name, request):
                return await self._peer.call(name, request)
            case Transfer(pieces, _, writes):
                await self._bus.perform(effect)
                way = "to normal memory" if writes else "from normal memory"
                self._observer.moved.labels(way).inc(sum(length for _, length in pieces))
                return None
            case Work(run):
                return await asyncio.get_running_loop().run_in_executor(self._threads, run)
            case Pause(attempt):
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * (attempt + 1)))
                return True
            case _:
                assert_never(effect)
