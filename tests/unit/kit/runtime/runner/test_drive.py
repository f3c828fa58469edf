"""The driver of operations: answers go in, failures are thrown in, and nothing is left open."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pef_kit.core.effects import Backoff, Effect, Offload, Operation, PeerCall, PeerFailure, Transfer, ask
from pef_kit.runtime.runner import drive
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode
from pef_protocol.hypercalls import SvmInitDone
from pef_protocol.quantities import Lpid

DONE = SvmInitDone(Lpid(7))
REPLY = Reply(HCode.H_SUCCESS)


def script(*answers: object) -> tuple[list[Effect], Callable[[Effect], Awaitable[Any]]]:
    """Return a list of what is performed, and a performer that answers in turn (or raises)."""
    performed: list[Effect] = []
    turns = iter(answers)

    async def perform(effect: Effect) -> Any:
        performed.append(effect)
        answer = next(turns)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return performed, perform


async def test_each_effect_is_performed_in_turn_and_answered() -> None:
    work = Offload(lambda: None)
    transfer = Transfer(((1 << 32, 8),), lambda *_: None, writes=False)

    def operation() -> Operation[list[object]]:
        reply = yield from ask("H_SVM_INIT_DONE", DONE)
        return [reply, (yield transfer), (yield work), (yield Backoff(3))]

    performed, perform = script(REPLY, None, 42, None)
    assert await drive(operation(), perform) == [REPLY, None, 42, None]
    assert performed == [PeerCall("H_SVM_INIT_DONE", DONE), transfer, work, Backoff(3)]


async def test_an_operation_that_needs_nothing_just_ends() -> None:
    def operation() -> Operation[str]:
        yield from ()
        return "done"

    performed, perform = script()
    assert await drive(operation(), perform) == "done"
    assert performed == []


async def test_a_failure_is_thrown_in_where_it_was_asked_and_may_be_survived() -> None:
    failure = PeerFailure("H_SVM_INIT_DONE", "hypervisor", "no answer within 60 s")

    def operation() -> Operation[tuple[PeerFailure, object]]:
        try:
            yield from ask("H_SVM_INIT_DONE", DONE)
        except PeerFailure as seen:
            return seen, (yield Backoff(0))
        raise AssertionError

    _, perform = script(failure, "later")
    assert await drive(operation(), perform) == (failure, "later")


async def test_a_failure_that_is_not_survived_leaves_after_the_cleaning() -> None:
    marks = {"moving"}

    def operation() -> Operation[None]:
        try:
            yield from ask("H_SVM_INIT_DONE", DONE)
        finally:
            marks.clear()

    _, perform = script(PeerFailure("H_SVM_INIT_DONE", "hypervisor", "down"))
    with pytest.raises(PeerFailure) as caught:
        await drive(operation(), perform)
    assert str(caught.value) == "H_SVM_INIT_DONE to hypervisor: down"
    assert (caught.value.call, caught.value.peer, caught.value.reason) == (
        "H_SVM_INIT_DONE",
        "hypervisor",
        "down",
    )
    assert not marks


async def test_a_fault_of_the_operation_itself_comes_out() -> None:
    def operation() -> Operation[None]:
        yield Backoff(0)
        raise ZeroDivisionError

    _, perform = script(None)
    with pytest.raises(ZeroDivisionError):
        await drive(operation(), perform)


async def test_cancelling_closes_the_operation_at_once() -> None:
    waiting = asyncio.Event()
    seen: list[type[BaseException] | None] = []

    def operation() -> Operation[None]:
        try:
            yield Backoff(0)
        except BaseException as why:
            seen.append(type(why))
            raise
        finally:
            seen.append(None)

    async def perform(_: Effect) -> None:
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(drive(operation(), perform))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [GeneratorExit, None]
