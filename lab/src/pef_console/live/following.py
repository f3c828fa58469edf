"""Frames that nobody asked for: made when a service has recorded an event, or a message is held."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pef_console.live.picture import Picture
from pef_lab.failures import Unanswered
from pef_protocol.events import Side

PAUSE: Final = 0.2
"""Seconds between two such frames."""


class Following:
    """Calls `show` some time after each change; `end` stops it."""

    def __init__(self, picture: Picture, show: Callable[[], Awaitable[None]]) -> None:
        self._picture = picture
        self._show = show
        self._changed = asyncio.Event()
        self._tasks = [asyncio.create_task(self._show_changes())]
        self._tasks += [asyncio.create_task(self._follow_events(side)) for side in Side]

    def change(self) -> None:
        """Take note of a change."""
        self._changed.set()

    async def end(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _show_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._show()
            await asyncio.sleep(PAUSE)

    async def _follow_events(self, side: Side) -> None:
        """Take note of each event of a side, and that it does not answer any more."""
        while not self._picture.ended:
            try:
                await self._picture.observer.wait(side)
            except Unanswered:
                self.change()
                return
            self.change()
            await asyncio.sleep(PAUSE)
