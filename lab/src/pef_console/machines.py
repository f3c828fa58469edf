"""The one thread in which machines run, so that no move blocks the event loop.

There is only one, as a mutant changes the code of the whole process: none of one session may act in another.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Machines:
    """Runs what moves machines, one call after the other.

    `apart`: held while a process of its own does something long, so that there is one of them.
    """

    def __init__(self) -> None:
        self.apart = asyncio.Semaphore(1)
        self._thread = ThreadPoolExecutor(1, "machines")

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Take no more work; what runs is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
