"""Waits for a person who presses Enter, while the event loop goes on and signals end the command as ever."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from rich.console import Console

GO_ON: Final = "Enter goes on."


def enter(console: Console, descriptor: int | None = None) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return what waits until a line comes in on a descriptor, which is standard input unless it is given.

    At the end of the input nothing is waited for any more.
    """
    place = sys.stdin.fileno() if descriptor is None else descriptor

    async def wait() -> None:
        console.print(f"[dim]{GO_ON}[/]")
        loop, come = asyncio.get_running_loop(), asyncio.Event()
        # A thread that nobody waits for: it may still read when a signal ends the command.
        threading.Thread(target=_read_line, args=(place, loop, come), daemon=True).start()
        await come.wait()

    return wait


def _read_line(place: int, loop: asyncio.AbstractEventLoop, come: asyncio.Event) -> None:
    while os.read(place, 1) not in {b"\n", b""}:
        pass
    if not loop.is_closed():
        loop.call_soon_threadsafe(come.set)
