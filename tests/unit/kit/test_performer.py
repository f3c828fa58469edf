"""The performer of a running service: each effect goes to the one who can do it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pef_kit import performer as performer_module
from pef_kit.bus import NORMAL_BASE, NormalMemory, carry_out
from pef_kit.observers import Observer
from pef_kit.operations import PATIENCE, Ask, Pause, PeerFailure, Transfer, Turn, Work
from pef_kit.performer import Performer
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.hypercalls import SvmInitDone
from pef_protocol.ultracalls import SvmTerminate
from unit.kit.in_process import asked, peer_of, toy_service


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

    monkeypatch.setattr("pef_kit.performer.asyncio.sleep", wait)
    observer, bus = Observer(Side.HYPERVISOR), HereBus()

    def fill(_: int, __: int, view: memoryview) -> None:
        view[:] = b"hello"

    async with peer_of(toy_service().app) as peer:
        perform = Performer(peer, bus, threads, observer)
        terminate = SvmTerminate(7)  # type: ignore[arg-type]
        assert await perform(asked("UV_SVM_TERMINATE", terminate)) == Reply(UCode.U_SUCCESS)
        with pytest.raises(PeerFailure):
            await perform(Ask("H_SVM_INIT_DONE", SvmInitDone(7)))  # type: ignore[arg-type]
        assert await perform(Transfer(((NORMAL_BASE, 5),), fill, writes=True)) is None
        assert (
            await perform(Transfer(((NORMAL_BASE, 3), (NORMAL_BASE, 1)), lambda *_: None, writes=False))
            is None
        )
        assert await perform(Work(threading.get_ident)) != threading.get_ident()
        assert (await perform(Turn()), waits.pop()) == (None, 0)
        with pytest.raises(ZeroDivisionError):
            await perform(Work(lambda: 1 // 0))
        for attempt in (0, 1, 10_000):
            assert await perform(Pause(attempt)) is (attempt < PATIENCE)
            assert await perform(Pause(attempt, patient=True)) is True
    assert bytes(bus.memory.at(NORMAL_BASE, 5)) == b"hello"
    told = observer.exposition().decode()
    assert 'pef_bytes_moved_total{way="to normal memory"} 5.0' in told
    assert 'pef_bytes_moved_total{way="from normal memory"} 4.0' in told
    assert waits[::2] == waits[1::2] == sorted(waits[::2])
    assert 0 < waits[0] < waits[2] < waits[4] == performer_module.LONGEST_PAUSE
