"""A queue that a thread of its own empties: putting something in never waits, however slow the reader is."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

T = TypeVar("T")

FLUSH: Final = 1.5
"""Longest time (seconds) that a service that stops waits for what is left."""


class Background(Generic[T]):
    """A queue of at most `waiting` items, and a thread that gives them to `deliver`, `at_once` per batch.

    `deliver` runs in the thread and may take as long as it likes; it raises nothing. What finds no room, and
    what is left at the end, is counted by `lost`. The thread begins with the first item. A batch is gathered
    for `gathers` seconds after its first item.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[list[T]], None],
        lost: Callable[[int], None],
        *,
        waiting: int,
        at_once: int,
        gathers: float = 0.0,
    ) -> None:
        self._name = name
        self._deliver = deliver
        self._lost = lost
        self._at_once = at_once
        self._gathers = gathers
        self._waiting: queue.Queue[T | None] = queue.Queue(waiting)
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, item: T) -> None:
        """Take an item, or count it as lost where too many wait; never wait."""
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            self._lost(1)
            return
        if self._thread is None:
            with self._starting:
                self._begin()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Hand over what waits, for at most `FLUSH` seconds; count the rest as lost."""
        await asyncio.to_thread(self.flush)

    def flush(self) -> None:
        """Do the same in the calling thread. An item that comes later begins a new thread."""
        thread = self._thread
        if thread is None:
            return
        self._stopping.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)  # wakes a thread that waits for an item
        thread.join(FLUSH)
        if thread.is_alive():
            while left := self._gathered():
                self._lost(len(left))
            return
        self._stopping.clear()
        self._thread = None

    def _run(self) -> None:
        while True:
            first = self._waiting.get()
            self._stopping.wait(self._gathers)
            batch = [*([] if first is None else [first]), *self._gathered()]
            if batch:
                self._deliver(batch)
            if self._stopping.is_set() and self._waiting.empty():
                return

    def _gathered(self) -> list[T]:
        found: list[T] = []
        while len(found) < self._at_once - 1:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                found.append(item)
        return found
