"""The clock of the tests: real time without waits for a processor, and never standing still."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from harness import processor_time
from harness.processor_time import LEAST, ProcessorTimeLoop

Counted = dict[tuple[str, str], int]


class Clock:
    """Real time and waits, as the test tells them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real = 100.0
        self.waited: Counted = {}
        monkeypatch.setattr("time.monotonic", lambda: self.real)
        monkeypatch.setattr(processor_time, "_waited", self.waited.items)

    def passes(self, seconds: float, **waited: float) -> None:
        """Let time pass, while threads wait for so many seconds: `a1` is a thread of process `a`."""
        self.real += seconds
        for thread, each in waited.items():
            key = thread[0], thread
            self.waited[key] = self.waited.get(key, 0) + round(each * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def loop(clock: Clock) -> Iterator[ProcessorTimeLoop]:
    clock.passes(0, a1=0, a2=0, b1=0)
    with closing(ProcessorTimeLoop()) as loop:
        yield loop


def test_without_waits_it_tells_real_time(clock: Clock, loop: ProcessorTimeLoop) -> None:
    clock.passes(7)
    assert loop.time() == 107


def test_waits_of_a_process_do_not_count_nor_those_of_another_but_its_threads_wait_at_once(
    clock: Clock, loop: ProcessorTimeLoop
) -> None:
    clock.passes(10, a1=3, a2=2, b1=4)
    assert loop.time() == pytest.approx(103)


def test_what_was_waited_before_a_thread_was_seen_counts(clock: Clock, loop: ProcessorTimeLoop) -> None:
    clock.passes(10, c1=5)
    assert loop.time() == 110


def test_it_never_stands_still(clock: Clock, loop: ProcessorTimeLoop) -> None:
    clock.passes(10, a1=10, b1=10)
    assert loop.time() == pytest.approx(100 + 10 * LEAST)
