"""Signals that end a command: it stops what it started, and its status tells the signal.

The reader of its output that leaves is one of them. A process that writes learns it by SIGPIPE; one that
computes for minutes would write too late, so a thread waits for it and sends the same signal. SIGPIPE also
comes from connections that break: such a one ends nothing.
"""

import asyncio
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")
ASKED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals by which somebody ends a command."""
ENDING: Final = (*ASKED, signal.SIGPIPE)


class Signalled(BaseException):
    """A signal ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise Signalled in the main thread where a signal ends the command; elsewhere do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _raise) for number in ENDING}
    try:
        with _reader_watched():
            yield
    finally:
        _restore(before)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end. A signal that ends the command cancels it, so that it stops what it started.

    Raise Signalled then.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    watched = _until_signalled(work)
    try:
        return asyncio.run(watched)
    finally:
        for begun in (watched, work):  # a signal may come before either has begun
            begun.close()
        _restore(before)


def run_until_ended(work: Coroutine[Any, Any, None]) -> None:
    """Run work that a signal is meant to end; raise Signalled where it is ended by something else."""
    try:
        run(work)
    except Signalled as ended:
        if ended.number not in ASKED:
            raise


async def _until_signalled(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    received: list[int] = []

    def stop(number: int) -> None:
        if _ends(number):
            received.append(number)
            task.cancel()

    for number in ENDING:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise Signalled(received[0]) from None


def reader_has_left() -> bool:
    """Tell whether standard output is a pipe, or a connection, that nobody reads any more."""
    place = _pipe()
    if place is None:
        return False
    poll = select.poll()
    poll.register(place, 0)  # that the other end is gone is always told
    return bool(poll.poll(0))


def _ends(number: int) -> bool:
    return number != signal.SIGPIPE or reader_has_left()


def _raise(number: int, _: object) -> None:
    if _ends(number):
        raise Signalled(number)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _pipe() -> int | None:
    """Return standard output as a descriptor where it has a reader: only a pipe or a socket has one."""
    try:
        place = sys.stdout.fileno()
        mode = os.fstat(place).st_mode
    except (OSError, ValueError, AttributeError):
        return None
    return place if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


@contextmanager
def _reader_watched() -> Iterator[None]:
    """Have a thread send SIGPIPE to this process when the reader of standard output leaves."""
    place = _pipe()
    if place is None:
        yield
        return
    if reader_has_left():
        raise Signalled(signal.SIGPIPE)
    end, over = os.pipe()
    watcher = threading.Thread(target=_wait_for_reader, args=(place, end), name="reader", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        os.close(over)
        watcher.join()
        os.close(end)


def _wait_for_reader(place: int, end: int) -> None:
    poll = select.poll()
    for each in (place, end):
        poll.register(each, 0)
    if any(each == place for each, _ in poll.poll()):
        with suppress(ProcessLookupError):
            os.kill(os.getpid(), signal.SIGPIPE)
