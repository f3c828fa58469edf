"""The performer of a running service: each effect goes to the one who can do it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from harness.in_process import asked, peer_of, toy_service
from pef_kit.core.effects import MAX_ATTEMPTS, Backoff, Offload, PeerCall, PeerFailure, Transfer, Turn
from pef_kit.runtime import runner as performer_module
from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory, carry_out
from pef_kit.runtime.runner import EffectRunner
from pef_kit.runtime.trace import CURRENT, CallContext, Observer
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.http import TIME_LEFT
from pef_protocol.hypercalls import SvmInitDone
from pef_protocol.quantities import Lpid
from pef_protocol.ultracalls import SvmTerminate


class HereBus:
    """Normal memory of this process."""

    def __init__(self) -> None:
        self.memory = NormalMemory.unshared(1 << 16)

    async def perform(self, transfer: Transfer) -> None:
        carry_out(self.memory, transfer)


async def test_each_effect_is_performed(threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("pef_kit.runtime.runner.asyncio.sleep", wait)
    observer, bus = Observer(Side.HYPERVISOR), HereBus()

    def fill(_: int, __: int, view: memoryview) -> None:
        view[:] = b"hello"

    async with peer_of(toy_service().app) as peer:
        perform = EffectRunner(peer, bus, threads, observer)
        terminate = SvmTerminate(7)  # type: ignore[arg-type]
        assert await perform(asked("UV_SVM_TERMINATE", terminate)) == Reply(UCode.U_SUCCESS)
        with pytest.raises(PeerFailure):
            await perform(PeerCall("H_SVM_INIT_DONE", SvmInitDone(7)))  # type: ignore[arg-type]
        assert await perform(Transfer(((NORMAL_BASE, 5),), fill, writes=True)) is None
        assert (
            await perform(Transfer(((NORMAL_BASE, 3), (NORMAL_BASE, 1)), lambda *_: None, writes=False))
            is None
        )
        assert await perform(Offload(threading.get_ident)) != threading.get_ident()
        assert (await perform(Turn()), waits.pop()) == (None, 0)
        with pytest.raises(ZeroDivisionError):
            await perform(Offload(lambda: 1 // 0))
        for attempt in (0, 1, 10_000):
            assert await perform(Backoff(attempt)) is (attempt < MAX_ATTEMPTS)
            assert await perform(Backoff(attempt, ignore_deadline=True)) is True
    assert bytes(bus.memory.at(NORMAL_BASE, 5)) == b"hello"
    reported = observer.exposition().decode()
    assert 'pef_bytes_moved_total{way="to normal memory"} 5.0' in reported
    assert 'pef_bytes_moved_total{way="from normal memory"} 4.0' in reported
    assert waits[::2] == waits[1::2] == sorted(waits[::2])
    assert 0 < waits[0] < waits[2] < waits[4] == performer_module.LONGEST_BACKOFF


@pytest.mark.parametrize(("ignore_deadline", "answered"), [(False, UCode.U_BUSY), (True, UCode.U_SUCCESS)])
async def test_once_time_is_over_only_a_waiting_call_is_made(
    threads: ThreadPoolExecutor, answered: UCode, *, ignore_deadline: bool
) -> None:
    seconds_left: list[int] = []

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        seconds_left.append(int(dict(scope["headers"])[TIME_LEFT.lower().encode()]) // 1000)
        await toy_service().app(scope, receive, send)

    over = asyncio.get_running_loop().time() - 1
    token = CURRENT.set(CallContext(deadline=over))
    try:
        async with peer_of(noted, time_limit=9.0) as peer:
            perform = EffectRunner(peer, HereBus(), threads, Observer(Side.HYPERVISOR))
            ask = replace(asked("UV_SVM_TERMINATE", SvmTerminate(Lpid(7))), ignore_deadline=ignore_deadline)
            assert (await perform(ask)).code is answered
            assert await perform(Backoff(0, ignore_deadline=ignore_deadline)) is ignore_deadline
    finally:
        CURRENT.reset(token)
    assert seconds_left == ([9] if ignore_deadline else [])
