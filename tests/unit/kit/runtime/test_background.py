"""A call that puts something in never waits, however slow the reader; what is lost is counted."""

import threading
from collections.abc import Callable

import pytest

from pef_kit.runtime import background
from pef_kit.runtime.background import Background


class Taker:
    """Takes batches, once it may."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.lost = 0
        self.took = threading.Event()
        self.may_go_on = threading.Event()

    def deliver(self, batch: list[int]) -> None:
        """Take a batch, and be slow."""
        self.took.set()
        self.may_go_on.wait()
        self.batches.append(batch)

    def lose(self, number: int) -> None:
        """Count what is lost."""
        self.lost += number


@pytest.fixture
def taker() -> Taker:
    return Taker()


def queue_to(taker: Taker, **bounds: int) -> Background[int]:
    return Background("test", taker.deliver, taker.lose, **{"waiting": 100, "at_once": 10} | bounds)


async def test_all_is_handed_over_in_order_and_in_bounded_batches(taker: Taker) -> None:
    taker.may_go_on.set()
    queue = queue_to(taker)
    for number in range(95):
        queue.put(number)
    await queue.close()
    assert [number for batch in taker.batches for number in batch] == list(range(95))
    assert max(map(len, taker.batches)) <= 10
    assert taker.lost == 0


def test_what_finds_no_room_is_lost_and_counted(taker: Taker) -> None:
    queue = queue_to(taker, waiting=3)
    queue.put(0)
    assert taker.took.wait(60)  # the first is out of the queue, in a batch of its own
    for number in range(1, 9):
        queue.put(number)
    assert taker.lost == 5
    taker.may_go_on.set()
    queue.flush()
    assert sum(map(len, taker.batches)) + taker.lost == 9


def test_a_taker_that_never_ends_is_not_waited_for(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FLUSH", 0.01)
    queue = queue_to(taker)
    queue.put(0)
    assert taker.took.wait(60)
    for number in range(1, 30):
        queue.put(number)
    queue.flush()
    assert taker.lost == 29
    taker.may_go_on.set()


def test_what_comes_after_a_flush_is_handed_over_too(taker: Taker) -> None:
    taker.may_go_on.set()
    queue = queue_to(taker)
    for number in range(3):
        queue.put(number)
        queue.flush()
    queue.flush()
    assert taker.batches == [[0], [1], [2]]


def test_nothing_begins_before_the_first_item(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*_: object, **__: object) -> Callable[[], None]:
        raise AssertionError("a thread was made")

    monkeypatch.setattr(threading, "Thread", no_thread)
    queue_to(taker).flush()
