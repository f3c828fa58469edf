"""Signals that end a command, and the reader of its output that leaves."""

import asyncio
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pef_lab.signals import ASKED, ENDING, Signalled, ended_by_signals, reader_has_left, run, run_until_ended


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    """See that whatever a test does, each signal means afterwards what it meant before."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    assert {number: signal.getsignal(number) for number in ENDING} == before


@contextmanager
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Have standard output be a pipe; yield the descriptor by which it is read."""
    end, place = os.pipe()
    with os.fdopen(place, "w") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        yield end


def here(number: signal.Signals) -> None:
    """Send a signal to this process."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ASKED)
def test_a_signal_is_raised_in_what_it_ends(number: signal.Signals) -> None:
    with pytest.raises(Signalled) as ended, ended_by_signals():
        here(number)
    assert ended.value.number == number


@pytest.mark.parametrize("number", ASKED)
def test_work_that_is_signalled_stops_what_it_started(number: signal.Signals) -> None:
    stopped = []

    async def work() -> None:
        try:
            here(number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            stopped.append(number)

    with pytest.raises(Signalled) as ended, ended_by_signals():
        run(work())
    assert ended.value.number == number
    assert stopped == [number]


@pytest.mark.parametrize("number", ASKED)
def test_a_signal_after_the_work_still_ends_the_command(number: signal.Signals) -> None:
    """Given a command that has run its work, when it prints the result, then signals mean what they did."""

    async def work() -> str:
        return "result"

    def command() -> None:
        assert run(work()) == "result"
        here(number)

    with pytest.raises(Signalled), ended_by_signals():
        command()


@pytest.mark.parametrize("number", ASKED)
def test_work_that_a_signal_is_meant_to_end_ends_well(number: signal.Signals) -> None:
    async def work() -> None:
        here(number)
        await asyncio.Event().wait()

    with ended_by_signals():
        run_until_ended(work())


def test_a_broken_connection_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> str:
        here(signal.SIGPIPE)
        await asyncio.sleep(0)
        return "done"

    with piped(monkeypatch) as reader, ended_by_signals():
        here(signal.SIGPIPE)
        assert run(work()) == "done"
        assert not reader_has_left()
    os.close(reader)


@pytest.mark.parametrize("meant", [run, run_until_ended])
def test_work_ends_when_the_reader_leaves(
    monkeypatch: pytest.MonkeyPatch, meant: Callable[..., None]
) -> None:
    with piped(monkeypatch) as reader:

        async def work() -> None:
            os.close(reader)
            await asyncio.Event().wait()

        with pytest.raises(Signalled) as ended, ended_by_signals():
            meant(work())
        assert ended.value.number == signal.SIGPIPE
        assert reader_has_left()


def test_a_computation_ends_when_the_reader_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute() -> None:
        os.close(reader)
        threading.Event().wait(60)

    with piped(monkeypatch) as reader:
        with pytest.raises(Signalled) as ended, ended_by_signals():
            compute()
        assert ended.value.number == signal.SIGPIPE


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_what_is_no_pipe_has_no_reader_that_leaves(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    with ended_by_signals():
        assert not reader_has_left()


def test_another_thread_leaves_signals_alone() -> None:
    seen = []

    def command() -> None:
        with ended_by_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=command)
    thread.start()
    thread.join()
    assert seen == [before]
