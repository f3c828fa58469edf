"""A call ends with an outcome, whatever is lost, late, foreign or broken on its way."""

import asyncio
from typing import Any

import httpx
import pytest

from harness.in_process import LIFE, Application, Receive, Scope, Send, asked, into, new_peer, toy_service
from harness.lossy_wire import Fault, Wire, answer_lost, reached, request_lost, says
from pef_kit.core.effects import Backoff, Operation, PeerCall, PeerFailure
from pef_kit.core.fence import Fence
from pef_kit.core.life import Ended, Life
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller
from pef_protocol.identity import Epoch, Incarnation, InstanceId
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.runs import PlacedRuns
from pef_protocol.ultracalls import PageIn, SvmTerminate

TERMINATE = SvmTerminate(7)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pef_kit.runtime.peer.FIRST_WAIT", 0.0)


FAULTS: dict[str, Fault] = {
    "request lost": request_lost,
    "answer lost": answer_lost,
    "a page for people": says(200, b"<html>"),
    "a proxy's error": says(502, b"bad gateway"),
    "a proxy's conflict": says(409, b"{}"),
    "not now": says(503, b'{"type": "urn:pef:problem:not-now"}'),
    "too many": says(429, b'{"type": "urn:pef:problem:not-now"}'),
    "another epoch": says(409, b'{"type": "urn:pef:problem:other-epoch"}'),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_what_says_nothing_of_the_outcome_is_asked_again_and_acts_once(fault: Fault) -> None:
    async with reached() as (peer, wire, counting):
        wire.faults = [fault, fault, fault]
        assert await peer.call(asked("UV_SVM_TERMINATE", TERMINATE)) == Reply(UCode.U_SUCCESS)
        assert counting.done == 1
        assert len(wire.slots) == 4
        assert len(set(wire.slots)) == 1


async def test_the_next_call_of_a_slot_has_the_next_number() -> None:
    async with reached() as (peer, wire, counting):
        for _ in range(3):
            await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
        assert counting.done == 3
        assert [slot.rpartition(".")[2] for slot in wire.slots] == ["1", "2", "3"]


async def test_calls_at_once_have_slots_of_their_own() -> None:
    together = asyncio.Barrier(4)

    def meets(_: Caller, __: str, ___: Any) -> Operation[Reply]:
        yield Backoff(0)
        return Reply(UCode.U_SUCCESS)

    async def perform(_: Any) -> Any:
        await together.wait()

    wire = Wire(toy_service(meets, perform=perform).app)
    peer = new_peer("http://peer.test", slots=True, transport=into(wire))
    await asyncio.gather(*(peer.call(asked("UV_SVM_TERMINATE", TERMINATE)) for _ in range(4)))
    assert len(set(wire.slots)) == 4
    assert {slot.rpartition(".")[2] for slot in wire.slots} == {"1"}
    await peer.close()


async def test_a_long_body_is_sent_again_only_where_it_never_came() -> None:
    runs = PlacedRuns.of(*((1 << 32, gfn * 2 * PAGE_SIZE, 1) for gfn in range(300)))
    call = asked("UV_PAGE_IN", PageIn(7, runs, 0, 16))  # type: ignore[arg-type]
    async with reached() as (peer, wire, counting):
        peer_limit = "pef_kit.runtime.peer.SMALL_BODY"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(peer_limit, 100)
            wire.faults = [answer_lost]
            await peer.call(call)
            wire.faults = [request_lost]
            await peer.call(call)
        assert counting.done == 2
        long = len(runs.words)
        assert wire.bodies == [long, 0, long, 0, long]


async def test_a_broken_service_is_a_failure_and_says_so_again() -> None:
    calls = 0

    def run_starts(_: Caller, __: str, ___: Any) -> Operation[Reply]:
        nonlocal calls
        calls += 1
        yield from ()
        raise ZeroDivisionError

    async with reached(run_starts) as (peer, wire, _):
        wire.faults = [answer_lost]
        with pytest.raises(PeerFailure, match="BROKEN") as caught:
            await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
    assert caught.value.done is None
    assert calls == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_a_message_that_is_refused_was_not_done_and_its_number_is_free(status: int) -> None:
    async with reached() as (peer, wire, counting):
        wire.faults = [says(status, b'{"type": "urn:pef:problem:message"}')]
        with pytest.raises(PeerFailure) as caught:
            await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
        assert caught.value.done is False
        await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
        assert counting.done == 1
        assert wire.slots[0] == wire.slots[1]


@pytest.mark.parametrize(
    ("kind", "status"), [(ProblemType.BROKEN, 500), (ProblemType.SLOT, 400), (ProblemType.LATE, 409)]
)
async def test_a_slot_whose_number_nobody_knows_is_not_used_again(kind: ProblemType, status: int) -> None:
    """Somebody else says so, and the service never saw the message: the next ones are done all the same."""
    problem = f'{{"type": "{kind.value}"}}'.encode()
    async with reached() as (peer, wire, counting):
        for _ in range(2 * len(peer._clients)):
            wire.faults = [says(status, problem)]
            with pytest.raises(PeerFailure, match=kind.name):
                await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
            await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
        assert counting.done == 2 * len(peer._clients)


async def test_a_peer_without_slots_is_not_asked_again() -> None:
    async with reached(slots=False) as (peer, wire, counting):
        wire.faults = [answer_lost]
        with pytest.raises(PeerFailure) as caught:
            await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
        assert caught.value.done is None
        assert (counting.done, wire.slots) == (1, [""])


async def test_a_call_of_an_svm_that_has_ended_ends_at_once_and_its_number_is_not_used_again() -> None:
    life = Life("an SVM", Incarnation(InstanceId("1" * 32), 1))
    ask = PeerCall("UV_SVM_TERMINATE", TERMINATE, life.incarnation, (life, LIFE))

    async def dies(*_: Any) -> None:
        life.end()
        raise httpx.ReadError("lost")

    async with reached() as (peer, wire, counting):
        wire.faults = [dies]
        with pytest.raises(Ended):
            await peer.call(ask)
        with pytest.raises(Ended):
            await peer.call(ask)
        assert (counting.done, len(wire.slots)) == (0, 1)
        await asyncio.gather(*peer._asked_for)
        await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
        assert counting.done == 2
        assert [slot.split(".")[-1] for slot in wire.slots] == ["1", "1", "2"]


async def test_a_call_whose_caller_went_away_keeps_its_slot_until_it_has_an_outcome() -> None:
    under_way, open_again = asyncio.Event(), asyncio.Event()

    async def shut(application: Application, scope: Scope, receive: Receive, send: Send) -> None:
        under_way.set()
        await open_again.wait()
        await application(scope, receive, send)

    async with reached() as (peer, wire, counting):
        wire.faults = [shut, shut]
        call = asyncio.create_task(peer.call(asked("UV_SVM_TERMINATE", TERMINATE)))
        await under_way.wait()
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        other = asyncio.create_task(peer.call(asked("UV_SVM_TERMINATE", TERMINATE)))
        open_again.set()
        await other
        await asyncio.gather(*peer._asked_for)
        assert counting.done == 2
        assert len(set(wire.slots)) == 2


async def test_that_the_epoch_is_over_is_a_rumour_which_is_told_and_asked_about_again() -> None:
    reported: list[str] = []
    async with reached(_other_epoch=lambda: reported.append("other")) as (peer, wire, counting):
        wire.faults = [FAULTS["another epoch"]] * 2
        await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
        assert reported == ["other"] * 2
        assert len(set(wire.slots)) == 1
        assert counting.done == 1


async def test_a_call_ends_with_its_epoch_once_that_is_no_rumour() -> None:
    life = Life("the epoch", epoch=Epoch(InstanceId("0" * 32), 1))
    async with reached(_other_epoch=life.end) as (peer, wire, counting):
        wire.faults = [FAULTS["another epoch"]]
        with pytest.raises(Ended):
            await peer.call(PeerCall("UV_SVM_TERMINATE", TERMINATE, lives=(life,)))
        assert (len(wire.slots), counting.done) == (1, 0)


async def test_a_call_that_is_given_up_keeps_its_slot_until_it_has_an_outcome() -> None:
    open_again = asyncio.Event()

    async def shut(application: Application, scope: Scope, receive: Receive, send: Send) -> None:
        await open_again.wait()
        await application(scope, receive, send)

    async with reached(_give_up=0.05) as (peer, wire, counting):
        wire.faults = [shut]
        with pytest.raises(PeerFailure, match="no outcome within") as caught:
            await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
        assert caught.value.done is None
        await peer.call(asked("UV_SVM_TERMINATE", TERMINATE))
        open_again.set()
        await asyncio.gather(*peer._asked_for)
        assert counting.done == 2
        assert wire.slots[1] != wire.slots[0]


async def test_an_epoch_of_its_own_has_a_session_of_its_own() -> None:
    fence = Fence()
    service = toy_service()
    service.fence = fence
    wire = Wire(service.app)
    peer = new_peer("http://peer.test", slots=True, transport=into(wire))
    for count in (1, 2):
        life = fence.begin(Epoch(InstanceId("0" * 32), count))
        await peer.call(PeerCall("UV_SVM_TERMINATE", TERMINATE, lives=(life,)))
    first, second = (slot.split(".")[0] for slot in wire.slots)
    assert first != second
    await peer.close()
