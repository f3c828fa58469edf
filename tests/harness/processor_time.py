"""An event loop whose clock does not count waits for a processor, so that a busy machine makes nothing late.

A bound of so many seconds then tells what hangs from what is slow: a service that sleeps or spins uses up its
seconds, and one that could run but gets no processor does not.

Source: Linux, Documentation/scheduler/sched-stats.rst: the second number of a thread's `schedstat` is the
time in nanoseconds that it could run and waited.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NANOSECOND: Final = 1e-9
STEP: Final = 0.01
"""Seconds of real time between two looks at the waits: the clock moves once in each."""
LEAST: Final = 0.1
"""The part of real time that always counts: what hangs is found in the end, however busy the machine is."""
WATCHED: Final[set[int]] = set()
"""Ids of processes that are no children of ours, and whose waits do not count either."""


class ProcessorTimeLoop(asyncio.SelectorEventLoop):
    """Tells the time without waits for a processor: of this process, its children, and those in `WATCHED`."""

    def __init__(self) -> None:
        self._looked = self._now = time.monotonic()
        self._waited = dict(_waited())
        super().__init__()

    def time(self) -> float:
        """Return the time in seconds."""
        real = time.monotonic()
        if (passed := real - self._looked) >= STEP:
            self._looked = real
            self._now += max(passed - self._newly_waited(), LEAST * passed)
        return self._now

    def _newly_waited(self) -> float:
        """Return the seconds that processes waited since the last look; each as its slowest thread."""
        before, self._waited = self._waited, dict(_waited())
        longest: dict[str, int] = {}
        for (process, thread), waited in self._waited.items():
            since = waited - before.get((process, thread), waited)
            longest[process] = max(longest.get(process, 0), since)
        return sum(longest.values()) * NANOSECOND


def _waited() -> Iterator[tuple[tuple[str, str], int]]:
    """Yield how long each thread has waited so far, in nanoseconds, by process and thread."""
    for process in ("self", *_children(), *map(str, WATCHED)):
        try:
            for thread in Path("/proc", process, "task").iterdir():
                yield (process, thread.name), int((thread / "schedstat").read_text().split()[1])
        except (OSError, IndexError):  # it has ended; or the kernel does not count, and real time is told
            continue


def _children() -> Iterator[str]:
    for thread in Path("/proc/self/task").iterdir():
        try:
            yield from (thread / "children").read_text().split()
        except OSError:
            continue
