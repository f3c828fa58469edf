"""A service's doors over HTTP: who may enter, what is no message of the protocol, what a call answers."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import Response

from harness.in_process import BODY_LIMIT, GUEST_KEY, TOKENS, toy_service, visitor
from pef_kit.core.effects import Operation
from pef_kit.runtime.app import json_response
from pef_kit.runtime.auth import TheCaller, TheGuest
from pef_kit.runtime.messages import Number
from pef_protocol.auth import mint_guest_token
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import UCode
from pef_protocol.events import Side
from pef_protocol.http import OCTETS, PROBLEM, Caller, Role
from pef_protocol.runs import CodedRuns
from pef_protocol.ultracalls import WritePate

PATE_PATH = "/v1/ultracalls/UV_WRITE_PATE"
PATE = {"lpid": 7, "dw0": 1, "dw1": 2}
PAGE_IN_PATH = "/v1/ultracalls/UV_PAGE_IN"
HYPERVISOR = TOKENS[Role.HYPERVISOR]


class Counting:
    """A toy that counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Caller, str, Any]] = []

    def __call__(self, caller: Caller, name: str, request: Any) -> Operation[Reply]:
        self.asked.append((caller, name, request))
        yield from ()
        return Reply(CALLS[name].success)


def problem(response: httpx.Response) -> dict[str, Any]:
    """Return the body of a problem, which agrees with its response."""
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body.keys() - {"field"} == {"type", "title", "status", "detail"}
    return body


WRONG_TOKENS = {
    "none": None,
    "empty": "",
    "wrong": "no such token",
    "almost": HYPERVISOR[:-1],
    "longer": HYPERVISOR + "x",
    "forged guest": mint_guest_token("the key of another door", 7),
    "no guest": "guest.7.kernel.",
}


@pytest.mark.parametrize("token", WRONG_TOKENS.values(), ids=WRONG_TOKENS.keys())
@pytest.mark.parametrize("path", [PATE_PATH, "/v1/ultracalls/UV_NO_SUCH_CALL"])
async def test_without_a_known_token_nothing_is_asked(token: str | None, path: str) -> None:
    toy = Counting()
    async with visitor(toy_service(toy), token) as client:
        response = await client.post(path, json=PATE)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert problem(response)["title"] == "Unauthorized"
    assert toy.asked == []


@pytest.mark.parametrize("scheme", ["Basic", "bearer:", "", "Token"])
async def test_another_scheme_is_no_token(scheme: str) -> None:
    async with visitor(toy_service()) as client:
        response = await client.post(
            PATE_PATH, json=PATE, headers={"authorization": f"{scheme} {HYPERVISOR}".strip()}
        )
    assert response.status_code == 401


async def test_the_token_says_who_calls() -> None:
    toy = Counting()
    service = toy_service(toy)
    for role in TOKENS:
        async with visitor(service, TOKENS[role]) as client:
            assert (await client.post(PATE_PATH, json=PATE)).status_code == 200
    for problem_state in (False, True):
        token = mint_guest_token(GUEST_KEY, 7, problem_state=problem_state)
        async with visitor(service, token) as client:
            assert (await client.post(PATE_PATH, json=PATE)).status_code == 200
    asked = WritePate(7, 1, 2)  # type: ignore[arg-type]
    callers = [*map(Caller, TOKENS), *(Caller(Role.GUEST, 7, state) for state in (False, True))]  # type: ignore[arg-type]
    assert toy.asked == [(caller, "UV_WRITE_PATE", asked) for caller in callers]


async def test_a_reply_travels_whole() -> None:
    def refuse(_: Caller, __: str, ___: Any) -> Operation[Reply]:
        yield from ()
        return Reply(UCode.U_NO_KEY, {"design": "eager", "n": 1}, CodedRuns.of((65536, 2, -5001)), "why")

    async with visitor(toy_service(refuse), HYPERVISOR) as client:
        response = await client.post(PATE_PATH, json=PATE)
    assert (response.status_code, response.json()) == (
        200,
        {
            "call": "UV_WRITE_PATE",
            "code": {"name": "U_NO_KEY", "number": -5003},
            "check": None,
            "outputs": {"design": "eager", "n": 1},
            "refused": [[65536, 2, -5001]],
            "detail": "why",
        },
    )


async def test_octets_and_json_ask_the_same() -> None:
    toy = Counting()
    scalars = {"lpid": 7, "flags": 0, "order": 16}
    async with visitor(toy_service(toy), HYPERVISOR) as client:
        await client.post(PAGE_IN_PATH, json=scalars | {"runs": [[1, 2, 3]]})
        words = b"".join(number.to_bytes(8, "little") for number in (1, 2, 3))
        await client.post(PAGE_IN_PATH, params=scalars, content=words, headers={"content-type": OCTETS})
    assert toy.asked[0] == toy.asked[1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"lpid": 7, "dw0": 1}', "dw1"),
        ('{"lpid": 7, "dw0": 1, "dw1": 2, "dw2": 3}', "dw2"),
        ('{"lpid": 7, "dw0": "1", "dw1": 2}', "dw0"),
        ('{"lpid": -7, "dw0": 1, "dw1": 2}', "lpid"),
        ("not JSON", "body"),
        ("[]", "body"),
        ("", "body"),
    ],
)
async def test_a_malformed_body_names_its_field_and_asks_nothing(body: str, field: str) -> None:
    toy = Counting()
    async with visitor(toy_service(toy), HYPERVISOR) as client:
        response = await client.post(PATE_PATH, content=body)
    assert response.status_code == 422
    assert problem(response)["field"] == field
    assert toy.asked == []


async def test_a_malformed_query_of_octets_names_its_field() -> None:
    async with visitor(toy_service(), HYPERVISOR) as client:
        response = await client.post(
            PAGE_IN_PATH, params={"lpid": "7", "flags": "-1", "order": "16"}, headers={"content-type": OCTETS}
        )
    assert (response.status_code, problem(response)["field"]) == (422, "flags")


async def streamed(total: int) -> AsyncIterator[bytes]:
    """Yield `total` bytes without saying beforehand how many."""
    for _ in range(total // 1024):
        yield b" " * 1024
    yield b" " * (total % 1024)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "streamed"])
@pytest.mark.parametrize("path", [PATE_PATH, "/v1/ultracalls/UV_NO_SUCH_CALL"])
async def test_a_body_over_the_limit_is_refused(announced: bool, path: str) -> None:
    toy = Counting()
    length = BODY_LIMIT + 1
    async with visitor(toy_service(toy), HYPERVISOR) as client:
        response = await client.post(path, content=b" " * length if announced else streamed(length))
    assert response.status_code == 413
    assert str(BODY_LIMIT) in problem(response)["detail"]
    assert toy.asked == []


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "streamed"])
async def test_a_body_of_the_limit_is_read(announced: bool) -> None:
    body = json.dumps(PATE).encode().ljust(BODY_LIMIT)

    async def stream() -> AsyncIterator[bytes]:
        yield body

    async with visitor(toy_service(), HYPERVISOR) as client:
        response = await client.post(PATE_PATH, content=body if announced else stream())
    assert response.status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/v1/ultracalls/UV_ESM/more", "/v1/hypercalls/H_SVM_INIT_DONE"]
)
async def test_a_path_of_nothing_is_a_problem(path: str) -> None:
    async with visitor(toy_service(), HYPERVISOR) as client:
        response = await client.post(path, json={})
    assert response.status_code == 404
    assert problem(response)["title"] == "Not Found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", PATE_PATH, "POST"), ("POST", "/livez", "GET")]
)
async def test_another_method_is_a_problem_that_names_the_right_one(
    method: str, path: str, allowed: str
) -> None:
    async with visitor(toy_service(), HYPERVISOR) as client:
        response = await client.request(method, path)
    assert response.status_code == 405
    assert problem(response)["title"] == "Method Not Allowed"
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("side", "path", "code"),
    [
        (Side.ULTRAVISOR, "/v1/ultracalls/UV_RETURN", {"name": "U_FUNCTION", "number": -2}),
        (Side.HYPERVISOR, "/v1/hypercalls/H_RANDOM", {"name": "H_FUNCTION", "number": -2}),
    ],
)
async def test_an_unknown_call_is_answered_in_the_protocol(
    side: Side, path: str, code: dict[str, Any]
) -> None:
    async with visitor(toy_service(side=side), TOKENS[Role.OBSERVER]) as client:
        response = await client.post(path, content=b"whatever")
    assert response.status_code == 200
    assert (response.json()["code"], response.json()["call"]) == (code, path.rpartition("/")[2])


async def test_a_fault_of_the_service_tells_nothing_of_itself() -> None:
    def fail(*_: object) -> Operation[Reply]:
        yield from ()
        raise RuntimeError("a page held: canary")

    service = toy_service(fail)
    async with visitor(service, HYPERVISOR) as client:
        response = await client.post(PATE_PATH, json=PATE)
    assert response.status_code == 500
    assert problem(response)["title"] == "Internal Server Error"
    assert "canary" not in response.text
    assert "RuntimeError" not in response.text
    assert [event["code"] for event in service.observer.since(0)] == ["", "failed"]


async def test_a_endpoint_lets_in_only_those_it_is_for() -> None:
    service = toy_service()

    async def guests(guest: TheGuest, gpa: Number) -> Response:
        return json_response({"lpid": guest.lpid, "gpa": gpa})

    async def vmm(caller: TheCaller) -> Response:
        return json_response({"role": caller.role})

    service.add("POST", "/v1/guest/load", guests, Role.GUEST, tag="guest")
    service.add("POST", "/v1/vmm/vms", vmm, Role.VMM, Role.OBSERVER, tag="vmm")
    statuses: dict[str, tuple[int, int]] = {}
    tokens = {str(role): token for role, token in TOKENS.items()}
    tokens |= {"kernel": mint_guest_token(GUEST_KEY, 7), "": "nobody"}
    for who, token in tokens.items():
        async with visitor(service, token) as client:
            at_guests = await client.post("/v1/guest/load?gpa=5")
            at_vmm = await client.post("/v1/vmm/vms")
        statuses[who] = (at_guests.status_code, at_vmm.status_code)
        for response in (at_guests, at_vmm):
            assert response.status_code == 200 or problem(response)
    assert statuses == {
        Role.ULTRAVISOR: (403, 403),
        Role.HYPERVISOR: (403, 403),
        Role.VMM: (403, 200),
        Role.OBSERVER: (403, 200),
        "kernel": (200, 403),
        "": (401, 401),
    }


@pytest.mark.parametrize("query", ["", "gpa=", "gpa=-1", "gpa=0x1", f"gpa={1 << 64}", "gpa=" + "0" * 30])
async def test_a_number_of_a_query_is_checked(query: str) -> None:
    service = toy_service()

    async def endpoint(gpa: Number) -> Response:
        return json_response(gpa)

    service.add("POST", "/door", endpoint, tag="guest")
    async with visitor(service) as client:
        response = await client.post(f"/door?{query}")
        assert (response.status_code, problem(response)["field"]) == (422, "gpa")
        assert (await client.post(f"/door?gpa={(1 << 64) - 1}")).json() == (1 << 64) - 1
