"""What a peer answers: replies come back whole, all else is a failure that names call, peer and reason."""

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.in_process import TOKENS, Application, Receive, Scope, Send, asked, peer_of, toy_service
from pef_kit.core.effects import Operation, PeerFailure
from pef_kit.runtime.messages import decode_reply, encode_call, encode_reply
from pef_kit.runtime.trace import CURRENT, CallContext
from pef_protocol.calls import CALLS, Call, Reply
from pef_protocol.codes import HCode
from pef_protocol.http import JSON, MAX_DEPTH, OCTETS, RUNS_IN_JSON, Caller, Role
from pef_protocol.hypercalls import SvmInitDone, SvmPageIn
from pef_protocol.runs import CodedRuns, PageRuns
from pef_protocol.ultracalls import PageIn

DONE = SvmInitDone(7)  # type: ignore[arg-type]
GOOD: Mapping[str, Any] = MappingProxyType(
    {
        "call": "H_SVM_INIT_DONE",
        "code": {"name": "H_BUSY", "number": 1},
        "outputs": {},
        "refused": [],
        "detail": "",
    }
)


def answering(body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> Application:
    """Return an application that answers everything alike."""

    async def application(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return application


async def failure_of(application: Application, *, time_limit: float = 5.0) -> str:
    """Return why a call to `application` fails."""
    async with peer_of(application, Role.ULTRAVISOR, time_limit=time_limit) as peer:
        with pytest.raises(PeerFailure) as caught:
            await peer.call(asked("H_SVM_INIT_DONE", DONE))
    assert (caught.value.call, caught.value.peer) == ("H_SVM_INIT_DONE", "hypervisor")
    assert str(caught.value) == f"H_SVM_INIT_DONE to hypervisor: {caught.value.reason}"
    assert TOKENS[Role.ULTRAVISOR] not in repr(caught.value)
    return caught.value.reason


def with_(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


async def test_the_good_answer_of_these_tests_is_good() -> None:
    async with peer_of(answering(with_()), Role.ULTRAVISOR) as peer:
        assert await peer.call(asked("H_SVM_INIT_DONE", DONE)) == Reply(HCode.H_BUSY)


NO_ANSWERS = {
    "nothing": b"",
    "HTML": b"<html><body>It works!</body></html>",
    "no text": b"\xff\xfe",
    "null": b"null",
    "number": b"7",
    "array": b"[]",
    "empty object": b"{}",
    "cut": with_()[:-1],
    "deep": b"[" * 100_000,
    "code is a number": with_(code=1),
    "code without number": with_(code={"name": "H_BUSY"}),
    "code of the other family": with_(code={"name": "U_BUSY", "number": 1}),
    "code nobody knows": with_(code={"name": "H_NONSENSE", "number": 1}),
    "code of another call": with_(code={"name": "H_P3", "number": -56}),
    "right name, wrong number": with_(code={"name": "H_BUSY", "number": -2}),
    "right name, number as text": with_(code={"name": "H_BUSY", "number": "1"}),
    "name is an array": with_(code={"name": ["H_BUSY"], "number": 1}),
    "outputs are an array": with_(outputs=[]),
    "outputs are null": with_(outputs=None),
    "refused is null": with_(refused=None),
    "refused is an object": with_(refused={"abc": 1}),
    "refused row too short": with_(refused=[[1, 2]]),
    "refused row of text": with_(refused=[["1", "2", "3"]]),
    "refused row of fractions": with_(refused=[[1.5, 2.5, 1.0]]),
    "refused beyond 64 bits": with_(refused=[[1 << 64, 1, 1]]),
    "refused with a code of another call": with_(refused=[[65536, 1, -56]]),
    "refused with success": with_(refused=[[65536, 1, 0]]),
    "huge number": with_()[:-1] + b', "more": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_what_is_no_answer_of_the_protocol_is_a_failure(body: bytes) -> None:
    assert (await failure_of(answering(body))).startswith("not an answer of the protocol: ")


@pytest.mark.parametrize("status", [201, 204, 301, 307, 401, 404, 413, 422, 500, 503])
async def test_another_status_is_a_failure_even_with_a_good_body(status: int) -> None:
    elsewhere = (b"location", b"http://elsewhere.test/")
    assert await failure_of(answering(with_(), status, elsewhere)) == f"HTTP status {status}"


async def test_a_packed_body_is_a_failure() -> None:
    packed = (b"content-encoding", b"gzip")
    assert (await failure_of(answering(with_(), 200, packed))).startswith("an answer that is packed")


async def test_an_answer_that_is_too_long_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pef_kit.runtime.messages.LONGEST_JSON", len(with_()))
    assert (await failure_of(answering(with_() + b" "))).startswith("an answer of over ")


async def test_an_answer_that_does_not_come_is_a_failure_in_time() -> None:
    async def silent(_: Scope, __: Receive, ___: Send) -> None:
        await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await failure_of(silent, time_limit=0.2) == "no answer within 0.2 s"
    assert 0.15 < loop.time() - began < 5


async def test_waiting_for_a_turn_is_bounded_too_and_gives_the_turn_back() -> None:
    """Twelve calls over four connections to a peer that is silent at first."""
    talking = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await talking.wait()
        await answering(with_())(scope, receive, send)

    async with peer_of(application, Role.ULTRAVISOR, time_limit=0.2) as peer:
        calls = (peer.call(asked("H_SVM_INIT_DONE", DONE)) for _ in range(12))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == [
            "H_SVM_INIT_DONE to hypervisor: no answer within 0.2 s"
        ] * 12
        talking.set()
        again = await asyncio.gather(*(peer.call(asked("H_SVM_INIT_DONE", DONE)) for _ in range(12)))
        assert again == [Reply(HCode.H_BUSY)] * 12


@pytest.mark.parametrize("depth", [MAX_DEPTH, 99])
async def test_calls_nested_too_deep_are_not_sent(depth: int) -> None:
    async def application(*_: object) -> None:
        raise AssertionError

    token = CURRENT.set(CallContext("c1", depth))
    try:
        reason = await failure_of(application)
        async with peer_of(application) as peer:
            with pytest.raises(PeerFailure, match="nested deeper"):
                await anext(peer.receive("/v1/normal-memory/read", b""))
    finally:
        CURRENT.reset(token)
    assert reason == f"calls are nested deeper than {MAX_DEPTH}"


numbers = st.integers(0, (1 << 64) - 1)
calls = st.sampled_from(list(CALLS.values()))


@st.composite
def replies(draw: st.DrawFn) -> tuple[Call, Reply]:
    """Make any reply that a call may have."""
    call = draw(calls)
    codes = st.sampled_from(sorted(call.codes))
    refusals = st.sampled_from(sorted(call.codes - {call.success}))
    return call, Reply(
        draw(codes),
        draw(st.dictionaries(st.text(), st.text() | numbers, max_size=3)),
        CodedRuns.from_rows(draw(st.lists(st.tuples(numbers, numbers, refusals), max_size=5))),
        draw(st.text()),
    )


@given(replies())
def test_a_reply_goes_there_and_back(example: tuple[Call, Reply]) -> None:
    call, reply = example
    assert decode_reply(call, *encode_reply(call.name, reply)) == reply


@pytest.mark.parametrize("runs", [RUNS_IN_JSON, RUNS_IN_JSON + 1])
async def test_many_runs_travel_as_octets_and_few_as_json(runs: int) -> None:
    seen: list[Any] = []
    kinds: list[bytes] = []

    def answer(_: Caller, name: str, request: Any) -> Operation[Reply]:
        seen.append(request)
        yield from ()
        return Reply(CALLS[name].success)

    service = toy_service(answer)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        kinds.append(dict(scope["headers"])[b"content-type"])
        await service.app(scope, receive, send)

    offered = PageIn(7, CALLS["UV_PAGE_IN"].runs.from_rows([(n, n + 1, 1) for n in range(runs)]), 0, 16)  # type: ignore[arg-type, union-attr]
    async with peer_of(application) as peer:
        assert (await peer.call(asked("UV_PAGE_IN", offered))).code == 0
    assert seen == [offered]
    assert kinds == [(OCTETS if runs > RUNS_IN_JSON else JSON).encode()]


def test_octets_keep_the_scalars_in_the_query() -> None:
    rows = [(n << 16, 1) for n in range(RUNS_IN_JSON + 1)]
    request = SvmPageIn(7, PageRuns.from_rows(rows), (1 << 64) - 1, 16)  # type: ignore[arg-type]
    form = encode_call(CALLS["H_SVM_PAGE_IN"], request)
    assert form == {
        "url": "/v1/hypercalls/H_SVM_PAGE_IN",
        "params": {"lpid": 7, "flags": (1 << 64) - 1, "order": 16},
        "content": request.runs.words,
        "headers": {"content-type": OCTETS},
    }
