"""Bad input over HTTP: 4xx that names the field, no 5xx ever, and nothing changes on either side."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import httpx
import pytest

from harness.live import LivePair, LivePlan, live_pair
from harness.live_vm import FREE, LiveVm, secure_vm
from pef_kit.runtime.connections import client_of
from pef_lab.minting import guest_token
from pef_protocol.calls import CALLS, Call
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import Side
from pef_protocol.http import EPOCH, HYPERCALL_PATH, JSON, OCTETS, PROBLEM, ULTRACALL_PATH
from pef_protocol.runs import PageRuns, PlacedRuns

pytestmark = pytest.mark.sockets

BODY_LIMIT = 64 << 10
CALL_NAMES = list(CALLS)


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[LivePair]:
    """Start a pair."""
    async with live_pair(LivePlan(between=False)) as running:
        yield running


@pytest.fixture(scope="module")
async def vm(pair: LivePair) -> AsyncIterator[LiveVm]:
    """Make a secure VM, so that there is something to break."""
    async with secure_vm(pair) as secure:
        await secure.write(FREE)
        yield secure
        await secure.reads_what_it_wrote()
        assert await pair.broken() == []


def url_of(pair: LivePair, call: Call) -> str:
    """Return where a call is answered."""
    path = ULTRACALL_PATH if call.is_ultracall else HYPERCALL_PATH
    base = pair.endpoints.ultravisor_url if call.is_ultracall else pair.endpoints.hypervisor_url
    return f"{base}{path}{call.name}"


async def token_of(pair: LivePair, vm: LiveVm, call: Call) -> str:
    """Return the token of who may make a call."""
    role = next(iter(call.callers)).value
    if role == "guest":
        return await guest_token(pair.endpoints, Side.ULTRAVISOR, vm.lpid)
    return pair.tokens[role.upper()]


@asynccontextmanager
async def speaking(pair: LivePair, vm: LiveVm, call: Call) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client for who may make a call."""
    client = client_of("", await token_of(pair, vm, call), connections=4, timeout=60)
    client.headers[EPOCH] = pair.epoch
    try:
        yield client
    finally:
        await client.aclose()


def good(call: Call, lpid: int) -> dict[str, Any]:
    """Return a well-formed request of a call."""
    form: dict[str, Any] = {}
    rows: dict[Any, Any] = {PageRuns: [[0, 1]], PlacedRuns: [[1 << 32, 0, 1]], str: "disk-key"}
    for argument in fields(call.request):
        form[argument.name] = rows.get(argument.type, lpid if argument.name == "lpid" else 0)
    return form


def malformed(call: Call, lpid: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield (what is wrong, the field that it must name, body) for a call."""
    form = good(call, lpid)
    yield "not JSON", "body", b"{"
    yield "nothing", "body", b""
    yield "not an object", "body", b"[]"
    yield "not UTF-8", "body", b'{"\xff": 1}'
    yield "too deep", "body", b"[" * 3000
    yield "an unknown field", "colour", json.dumps({**form, "colour": 1}).encode()
    for name, content in form.items():
        rest = {other: form[other] for other in form if other != name}
        yield f"no {name}", name, json.dumps(rest).encode()
        wrong: list[Any] = [None, True, [], {}, 1.5, -1, 1 << 64, 10**400]
        if isinstance(content, str):
            wrong = [None, True, [], 7, "x" * 65]
        elif isinstance(content, list):
            width = len(content[0])
            wrong = [None, 7, "0", [[0] * (width - 1)], [[0] * (width + 1)], [["0"] * width]]
            wrong += [[[-1] * width], [[1 << 64] * width], [[0.5] * width], [0] * width]
        else:
            wrong += ["7", "", "0x10"]
        for each in wrong:
            yield f"{name} = {str(each)[:30]}", name, json.dumps({**rest, name: each}).encode()
        yield f"{name} = NaN", name, json.dumps({**rest, name: float("nan")}).encode()


@pytest.mark.parametrize("name", CALL_NAMES)
async def test_malformed_bodies_name_the_field(pair: LivePair, vm: LiveVm, name: str) -> None:
    """Given a secure VM.

    When malformed bodies of a call are sent,
    then each is answered 4xx with the name of the field, and neither side changes.
    """
    call = CALLS[name]
    before = await pair.digests()
    async with speaking(pair, vm, call) as client:
        for what, field, body in malformed(call, vm.lpid):
            response = await client.post(url_of(pair, call), content=body, headers={"content-type": JSON})
            assert 400 <= response.status_code < 500, f"{what}: {response.status_code}"
            assert response.headers["content-type"] == PROBLEM, what
            problem = response.json()
            assert problem["status"] == response.status_code
            named = problem.get("field", "body").split(".")[0]
            # What a body that is no JSON lacks is everything: it names itself, or where the JSON ends.
            assert field in {named, "body"}, f"{what} names {named}: {problem['detail']}"
    assert await pair.digests() == before


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.runs])
async def test_malformed_octets_name_the_field(pair: LivePair, vm: LiveVm, name: str) -> None:
    """Given a secure VM.

    When malformed octets and queries of a call are sent,
    then each is answered 422 with the name of the field, and neither side changes.
    """
    call = CALLS[name]
    runs = call.runs
    assert runs is not None
    row = bytes(8 * runs.WIDTH)
    scalars = {argument: "0" for argument in call.arguments if argument != "runs"}
    wrong: list[tuple[str, dict[str, str], bytes]] = [("runs", scalars, row[:-1]), ("runs", scalars, b"x")]
    for scalar in scalars:
        wrong.append((scalar, {each: "0" for each in scalars if each != scalar}, row))
        wrong += [(scalar, {**scalars, scalar: text}, row) for text in ("", "-1", "1.5", "x", str(1 << 64))]
    before = await pair.digests()
    async with speaking(pair, vm, call) as client:
        for field, query, body in wrong:
            response = await client.post(
                url_of(pair, call), params=query, content=body, headers={"content-type": OCTETS}
            )
            assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY, (field, query)
            assert response.json()["field"] == field
    assert await pair.digests() == before


@pytest.mark.parametrize("name", CALL_NAMES)
async def test_a_body_over_the_limit_is_413(pair: LivePair, vm: LiveVm, name: str) -> None:
    """Given a secure VM.

    When a body over the limit is sent, announced or not,
    then it is answered 413, and neither side changes.
    """
    call = CALLS[name]
    before = await pair.digests()

    async def in_parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (BODY_LIMIT // 2)

    async with speaking(pair, vm, call) as client:
        for announced in ({"content-length": str(3 * (BODY_LIMIT // 2))}, {}):
            headers = announced | {"content-type": JSON}
            response = await client.post(url_of(pair, call), content=in_parts(), headers=headers)
            assert response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
            assert response.headers["content-type"] == PROBLEM
    assert await pair.digests() == before


@pytest.mark.parametrize("name", CALL_NAMES)
async def test_wrong_roles_get_the_code_of_their_check(pair: LivePair, vm: LiveVm, name: str) -> None:
    """Given a secure VM.

    When callers make a call that is not theirs,
    then each is told the code of that check, and neither side changes.
    """
    call = CALLS[name]
    expected = UCode.U_PERMISSION if call.is_ultracall else HCode.H_UNSUPPORTED
    side = Side.ULTRAVISOR if call.is_ultracall else Side.HYPERVISOR
    other = "HYPERVISOR" if call.is_ultracall else "VMM"
    tokens = {
        "observer": pair.tokens["OBSERVER"],
        "guest": await guest_token(pair.endpoints, side, vm.lpid),
        other.lower(): pair.tokens[other],
    }
    before = await pair.digests()
    for role, token in tokens.items():
        if role not in {each.value for each in call.callers}:
            client = client_of("", token, connections=1, timeout=60)
            epoch = {EPOCH: pair.epoch}
            response = await client.post(url_of(pair, call), json=good(call, vm.lpid), headers=epoch)
            await client.aclose()
            assert response.status_code == httpx.codes.OK
            assert response.json()["code"] == {"name": expected.name, "number": int(expected)}, role
    assert await pair.digests() == before


@pytest.mark.parametrize("side", ["ultravisor", "hypervisor"])
async def test_a_call_that_there_is_not(pair: LivePair, side: str) -> None:
    """Given names that no call has.

    When they are called at a side,
    then the answer is U_FUNCTION or H_FUNCTION.
    """
    path, endpoint = (
        (ULTRACALL_PATH, pair.as_hypervisor) if side == "ultravisor" else (HYPERCALL_PATH, pair.as_ultravisor)
    )
    for name in ("UV_RETURN", "H_RANDOM", "uv_esm", "%00", "x" * 500):
        response = await endpoint.ask("POST", path + name, content=b"{}")
        assert response.json()["code"]["name"] == ("U_FUNCTION" if side == "ultravisor" else "H_FUNCTION")
