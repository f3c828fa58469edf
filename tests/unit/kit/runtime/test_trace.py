"""What a service tells of itself: events with the ids of their tree, counters, health; no secrets."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp

from harness.in_process import GUEST_KEY, TOKENS, Receive, Scope, Send, peer_of, succeed, toy_service, visitor
from pef_kit.core.checks import refuse
from pef_kit.core.effects import Effect, Operation, PeerCall, PeerFailure, ask
from pef_kit.runtime.app import json_response
from pef_kit.runtime.trace import AT_ONCE, CURRENT, RING, CallContext, Observer, Recorded, nested_headers
from pef_kit.runtime.views import add_view
from pef_protocol.auth import mint_guest_token
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import UCode
from pef_protocol.events import Event, EventKind, EventPhase, Side
from pef_protocol.http import CALL_ID, DEPTH, MAX_DEPTH, PARENT_ID, TRACEPARENT, Caller, Role
from pef_protocol.hypercalls import SvmInitDone
from pef_protocol.quantities import U64_MAX, Lpid
from pef_protocol.ultracalls import SvmTerminate

ESM_PATH = "/v1/ultracalls/UV_ESM"
ESM = {"kernel_base": 65536, "fdt": 8}
TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
GUEST = mint_guest_token(GUEST_KEY, 7)
TURNS = 100
"""Turns of the loop in which a request comes as far as it may."""


async def events(application: Any, after: int = 0) -> list[dict[str, Any]]:
    """Read the trace as the observer does."""
    async with visitor(application, TOKENS[Role.OBSERVER]) as client:
        found: list[dict[str, Any]] = (await client.get(f"/v1/observer/trace?after={after}")).json()
    return found


async def test_a_call_is_two_events() -> None:
    service = toy_service()
    headers = {CALL_ID: "c1", PARENT_ID: "p1", DEPTH: "2"}
    async with visitor(service, GUEST) as client:
        await client.post(ESM_PATH, json=ESM, headers=headers)
    begin, end = await events(service)
    same = {
        "side": "ultravisor",
        "kind": "call",
        "call_id": "c1",
        "parent_id": "p1",
        "caller": "guest 7",
        "name": "UV_ESM",
        "arguments": {"kernel_base": 65536, "fdt": 8},
        "depth": 0,  # nothing nests what a guest asks for, whatever its header says
        "pages": 0,
        "detail": "",
        "check": "",
    }
    assert end.pop("seconds") >= 0
    assert begin == {"number": 1, "phase": "begin", "code": "", "seconds": 0.0} | same
    assert end == {"number": 2, "phase": "end", "code": "U_SUCCESS"} | same


async def test_a_call_is_open_until_it_is_answered() -> None:
    observer = toy_service().observer
    open_ones: list[int] = []

    def counting(caller: Caller, name: str, asked: Any) -> Operation[Reply]:
        open_ones.append(service.observer.open_calls)
        return (yield from succeed(caller, name, asked))

    def fail(*_: object) -> Operation[Reply]:
        yield from ()
        raise ZeroDivisionError

    assert observer.open_calls == 0
    for answer in (counting, fail):
        service = toy_service(answer)
        async with visitor(service, GUEST) as client:
            await client.post(ESM_PATH, json=ESM)
        assert service.observer.open_calls == 0
    assert open_ones == [1]


async def test_the_end_of_a_call_names_the_check_that_refused() -> None:
    check = CALLS["UV_ESM"].check_order[1]

    def refusing(*_: object) -> Operation[Reply]:
        yield from ()
        return replace(refuse(check), detail="why")

    service = toy_service(refusing)
    async with visitor(service, GUEST) as client:
        await client.post(ESM_PATH, json=ESM)
    end = (await events(service))[-1]
    assert (end["code"], end["check"], end["detail"]) == (check.code.name, check.name, "why")


@pytest.mark.parametrize(
    ("kind", "caller", "name"),
    [
        (EventKind.ACCESS, Caller(Role.GUEST, Lpid(7)), "guest 7"),
        (EventKind.OPERATION, Caller(Role.VMM), "vmm"),
    ],
)
async def test_accesses_and_operations_are_roots_and_no_calls(
    kind: EventKind, caller: Caller, name: str
) -> None:
    """Given an access or operation, its call id is the parent of what it nests, and no counter counts it."""
    observer = Observer(Side.HYPERVISOR)
    headers = Headers({DEPTH: "2"})
    with Recorded(observer, headers, caller, kind, "it", {"gpa": 1 << 16}) as recorded:
        nested = nested_headers("c2")
        recorded.ends("refused", "no slot")
    begin, end = observer.since(0)
    assert nested == {CALL_ID: "c2", PARENT_ID: begin["call_id"], DEPTH: "1"}
    assert begin["call_id"] == end["call_id"] != ""
    assert (end["kind"], end["caller"], end["code"], end["detail"]) == (kind, name, "refused", "no slot")
    assert CURRENT.get() is None
    assert 'call="it"' not in observer.exposition().decode()


async def test_a_call_without_an_id_gets_one() -> None:
    service = toy_service()
    async with visitor(service, GUEST) as client:
        for _ in range(2):
            await client.post(ESM_PATH, json=ESM)
    seen = [(event["call_id"], event["parent_id"], event["depth"]) for event in await events(service)]
    assert len(seen) == 4
    assert len({call_id for call_id, _, _ in seen} - {""}) == 2
    assert {(parent, depth) for _, parent, depth in seen} == {("", 0)}


@pytest.mark.parametrize("depth", ["-1", "x", "", "1e1", "100", "9" * 5000])
async def test_a_depth_that_is_none_counts_as_the_deepest(depth: str) -> None:
    service = toy_service()
    async with visitor(service, TOKENS[Role.HYPERVISOR]) as client:
        await client.post("/v1/ultracalls/UV_SVM_TERMINATE", json={"lpid": 7}, headers={DEPTH: depth})
    assert [event["depth"] for event in await events(service)] == [MAX_DEPTH] * 2


async def test_few_runs_are_told_and_many_are_counted() -> None:
    service = toy_service()
    async with visitor(service, TOKENS[Role.HYPERVISOR]) as client:
        for runs in ([[1 << 32, 65536, 2]], [[1 << 32, 65536, 3]] * 9, []):
            body = {"lpid": 7, "runs": runs, "flags": 0, "order": 16}
            await client.post("/v1/ultracalls/UV_PAGE_IN", json=body)
    ends = [event for event in await events(service) if event["phase"] == "end"]
    reported = [(event["arguments"]["runs"], event["pages"]) for event in ends]
    assert reported == [("0x100000000+0x10000+0x2", 2), ("9 runs", 27), ("0 runs", 0)]


async def test_only_later_events_are_told() -> None:
    service = toy_service()
    async with visitor(service, GUEST) as client:
        for number in range(3):
            await client.post(ESM_PATH, json=ESM, headers={CALL_ID: f"c{number}"})
    assert [event["call_id"] for event in await events(service, after=3)] == ["c1", "c2", "c2"]
    assert await events(service, after=6) == []


async def test_a_request_for_the_trace_may_wait_for_an_event() -> None:
    service = toy_service()
    async with visitor(service, TOKENS[Role.OBSERVER]) as observer, visitor(service, GUEST) as guest:
        assert (await observer.get("/v1/observer/trace?after=0&wait=0")).json() == []
        assert (await observer.get("/v1/observer/trace?after=0&wait=31")).status_code == 422
        waiting = asyncio.ensure_future(observer.get("/v1/observer/trace?after=0&wait=30"))
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not waiting.done()
        await guest.post(ESM_PATH, json=ESM, headers={CALL_ID: "c1"})
        reported = (await waiting).json()
    assert (reported[0]["call_id"], reported[0]["phase"]) == ("c1", "begin")


async def test_nested_calls_make_one_tree_on_both_sides() -> None:
    """A guest's UV_ESM asks H_SVM_INIT_DONE, which asks UV_SVM_TERMINATE."""

    def on_ultravisor(_: Caller, name: str, __: Any) -> Operation[Reply]:
        if name == "UV_ESM":
            yield from ask("H_SVM_INIT_DONE", SvmInitDone(7))  # type: ignore[arg-type]
        return Reply(CALLS[name].success)

    def on_hypervisor(_: Caller, name: str, __: Any) -> Operation[Reply]:
        yield from ask("UV_SVM_TERMINATE", SvmTerminate(7))  # type: ignore[arg-type]
        return Reply(CALLS[name].success)

    peers: dict[Side, Any] = {}

    async def from_ultravisor(effect: Effect) -> Any:
        assert isinstance(effect, PeerCall)
        return await peers[Side.HYPERVISOR].call(effect)

    async def from_hypervisor(effect: Effect) -> Any:
        assert isinstance(effect, PeerCall)
        return await peers[Side.ULTRAVISOR].call(effect)

    uv = toy_service(on_ultravisor, perform=from_ultravisor)
    hv = toy_service(on_hypervisor, side=Side.HYPERVISOR, perform=from_hypervisor)
    application: ASGIApp = uv.app
    async with (
        peer_of(application) as to_uv,
        peer_of(hv.app, Role.ULTRAVISOR) as to_hv,
        visitor(uv, GUEST) as client,
    ):
        peers |= {Side.ULTRAVISOR: to_uv, Side.HYPERVISOR: to_hv}
        response = await client.post(ESM_PATH, json=ESM, headers={CALL_ID: "root", TRACEPARENT: TRACE})
    assert response.json()["code"]["name"] == "U_SUCCESS"
    tree = [
        (event["name"], event["phase"], event["call_id"], event["parent_id"], event["depth"], event["caller"])
        for service in (uv, hv)
        for event in service.observer.since(0)
    ]
    assert tree == [
        ("UV_ESM", "begin", "root", "", 0, "guest 7"),
        ("UV_SVM_TERMINATE", "begin", "u1", "h1", 2, "hypervisor"),
        ("UV_SVM_TERMINATE", "end", "u1", "h1", 2, "hypervisor"),
        ("UV_ESM", "end", "root", "", 0, "guest 7"),
        ("H_SVM_INIT_DONE", "begin", "h1", "root", 1, "ultravisor"),
        ("H_SVM_INIT_DONE", "end", "h1", "root", 1, "ultravisor"),
    ]
    assert CURRENT.get() is None


async def headers_of_a_nested_call(**headers: str) -> httpx.Headers:
    """Return what the peer gets when a call with these headers asks it something."""
    seen: list[httpx.Headers] = []

    def on_ultravisor(_: Caller, name: str, __: Any) -> Operation[Reply]:
        try:
            yield from ask("H_SVM_INIT_DONE", SvmInitDone(7))  # type: ignore[arg-type]
        except PeerFailure as failure:
            return Reply(UCode.U_PERMISSION, detail=str(failure))
        return Reply(CALLS[name].success)

    hypervisor = toy_service(side=Side.HYPERVISOR).app

    async def keeping_headers(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(httpx.Headers(scope["headers"]))
        await hypervisor(scope, receive, send)

    async with peer_of(keeping_headers, Role.ULTRAVISOR) as peer:

        async def perform(effect: Effect) -> Any:
            assert isinstance(effect, PeerCall)
            return await peer.call(effect)

        async with visitor(toy_service(on_ultravisor, perform=perform), GUEST) as client:
            raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
            response = await client.post(ESM_PATH, json=ESM, headers=raw)
    assert response.status_code == 200
    assert response.json()["code"]["name"] == "U_SUCCESS", response.text
    return seen[0]


async def test_the_trace_of_the_caller_is_carried_on() -> None:
    headers = await headers_of_a_nested_call(**{TRACEPARENT: TRACE})
    assert headers[TRACEPARENT] == "00-0123456789abcdef0123456789abcdef-00000000000000h1-01"


@pytest.mark.parametrize(
    "trace", ["", "a-b-c", "a-b-c-d", TRACE + "-more", "00-\u00e9-\u00e9-01", TRACE.upper()]
)
async def test_a_trace_that_is_none_is_not_carried_on(trace: str) -> None:
    assert TRACEPARENT not in await headers_of_a_nested_call(**{TRACEPARENT: trace})


@pytest.mark.parametrize("call_id", ["\u00e9", "a\u00ff", "\x7f", "x" * 65, "two words", "\t"])
async def test_an_id_that_cannot_be_sent_on_is_replaced(call_id: str) -> None:
    """Else a guest could make every nested call of its own fail in a way that no operation expects."""
    headers = await headers_of_a_nested_call(**{CALL_ID: call_id})
    assert re.fullmatch(r"[!-~]{1,64}", headers[PARENT_ID])
    assert headers[PARENT_ID] != call_id


@pytest.mark.parametrize("after", [2, 3, (1 << 63) - 1, 1 << 63, U64_MAX - 1, U64_MAX])
async def test_behind_the_last_event_there_is_none(after: int) -> None:
    service = toy_service()
    async with visitor(service, GUEST) as client:
        await client.post(ESM_PATH, json=ESM)
    assert await events(service, after) == []


async def test_counters_are_for_the_observer() -> None:
    service = toy_service()
    async with visitor(service, GUEST) as client:
        await client.post(ESM_PATH, json=ESM)
        assert (await client.get("/metrics")).status_code == 403
        assert (await client.get("/v1/observer/trace?after=0")).status_code == 403
    async with visitor(service) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/v1/observer/trace?after=0")).status_code == 401
    async with visitor(service, TOKENS[Role.OBSERVER]) as client:
        response = await client.get("/metrics")
        assert (await client.get("/v1/observer/trace")).json()["field"] == "after"
    assert response.headers["content-type"].startswith("text/plain")
    assert 'pef_calls_total{call="UV_ESM",code="U_SUCCESS"} 1.0' in response.text
    assert 'pef_call_seconds_count{call="UV_ESM"} 1.0' in response.text


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_needs_no_token(path: str) -> None:
    async with visitor(toy_service()) as client:
        response = await client.get(path)
    assert (response.status_code, response.json()) == (200, {path[1:].removesuffix("z"): True})


async def test_a_view_is_for_the_observer() -> None:
    service = toy_service()

    async def digest() -> Response:
        return json_response({"digest": "00"})

    add_view(service, "digest", digest)
    for token, status in ((None, 401), (GUEST, 403), (TOKENS[Role.OBSERVER], 200)):
        async with visitor(service, token) as client:
            response = await client.get("/v1/observer/digest")
        assert response.status_code == status
        assert status != 200 or response.json() == {"digest": "00"}


def test_the_ring_forgets_the_oldest() -> None:
    observer = Observer(Side.HYPERVISOR)
    for number in range(1, RING + 3):
        observer.record(
            Event(number, observer.side, EventKind.CALL, EventPhase.BEGIN, f"c{number}", "", "", "", 0, {})
        )
    kept = observer.since(0, limit=RING)
    assert observer.since(0) == kept[:AT_ONCE]
    assert (len(kept), kept[0]["call_id"], kept[-1]["call_id"]) == (RING, "c3", f"c{RING + 2}")
    assert [event["call_id"] for event in observer.since(RING, limit=1)] == [f"c{RING + 1}"]


async def test_a_service_closes_what_it_was_given_in_reverse() -> None:
    service = toy_service(succeed)
    closed: list[str] = []
    for name in ("threads", "peer"):

        async def close(name: str = name) -> None:
            closed.append(name)

        service.at_end(close)
    async with service.app.router.lifespan_context(service.app):
        assert closed == []
    assert closed == ["peer", "threads"]
    assert CallContext() == CallContext("", 0, "")
