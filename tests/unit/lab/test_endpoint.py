"""Whatever answers at a URL, or does not: an actor reads an answer of the protocol, or raises Unanswered."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import pytest
from aiohttp import web

from pef_lab.between.server import Server, drop
from pef_lab.endpoint import Endpoint, requests_named, understood, unreached
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal, Unanswered, Unreached, WrongInput
from pef_lab.guest import Guest
from pef_lab.keeping import machine_key_at
from pef_lab.minting import token_of_vm
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.http import CALL_ID, JSON, PROBLEM
from pef_protocol.quantities import Lpid
from pef_protocol.ultracalls import UnshareAllPages

LPID: Final = Lpid(1)
Actor = Callable[[Endpoints], Awaitable[object]]


async def watched(endpoints: Endpoints, see: Callable[[Watch], Awaitable[object]]) -> object:
    """Look at a pair as an observer."""
    async with Watch(endpoints) as watch:
        return await see(watch)


async def managed(endpoints: Endpoints, act: Callable[[Vmm], Awaitable[object]]) -> object:
    """Act on a pair as the VMM."""
    async with Vmm(endpoints) as vmm:
        return await act(vmm)


async def within(endpoints: Endpoints, act: Callable[[Guest], Awaitable[object]]) -> object:
    """Act as a guest that began well: its tokens are minted without the service."""
    guest = Guest(endpoints, LPID)
    try:
        return await act(guest)
    finally:
        await guest.__aexit__(None, None, None)


async def entered(endpoints: Endpoints) -> object:
    """Begin as a guest."""
    async with Guest(endpoints, LPID) as guest:
        return guest.lpid


async def called(endpoints: Endpoints) -> object:
    """Make a call of the protocol."""
    async with Endpoint("Ultravisor", endpoints.ultravisor_url, "token") as endpoint:
        return await endpoint.call("UV_UNSHARE_ALL_PAGES", UnshareAllPages())


ACTORS: Final[dict[str, Actor]] = {
    "machine key": lambda at: watched(at, lambda watch: watch.machine_public_key()),
    "machine key of an image": lambda at: machine_key_at(at.ultravisor_url),
    "VMs": lambda at: watched(at, lambda watch: watch.vms(Side.HYPERVISOR)),
    "GFNs": lambda at: watched(at, lambda watch: watch.slots(Side.ULTRAVISOR, LPID)),
    "trace": lambda at: watched(at, lambda watch: watch.fresh_events()),
    "create": lambda at: managed(at, lambda vmm: vmm.create(Design.TRACKED)),
    "list": lambda at: managed(at, lambda vmm: vmm.list()),
    "plug": lambda at: managed(at, lambda vmm: vmm.plug(LPID, 0, 0, 1 << 20)),
    "host read": lambda at: managed(at, lambda vmm: vmm.read(LPID, 0, 8)),
    "host write": lambda at: managed(at, lambda vmm: vmm.write(LPID, 0, b"octets")),
    "a guest begins": entered,
    "guest load": lambda at: within(at, lambda guest: guest.load(0, 8)),
    "guest store": lambda at: within(at, lambda guest: guest.store(0, b"octets")),
    "call": called,
    "token": lambda at: token_of_vm(at, Side.HYPERVISOR, LPID),
}
"""Everything by which the lab asks a service for something, as (endpoints) to what it makes of the answer."""

DEEP: Final = b"[" * 100_000
BODIES: Final[dict[str, tuple[int, str, bytes]]] = {
    "HTML": (200, "text/html", b"<html>"),
    "half of JSON": (200, JSON, b"{"),
    "a list": (200, JSON, b"[1]"),
    "a number": (200, JSON, b"1"),
    "null": (200, JSON, b"null"),
    "other keys": (200, JSON, b'{"vms": 1, "pool": [], "errno": {}, "incarnation": 7, "lpid": "x"}'),
    "no text": (200, JSON, b"\xff\xfe"),
    "too deep": (200, JSON, DEEP),
    "nothing there": (404, "text/plain", b"no"),
    "a problem that is none": (500, PROBLEM, b"{"),
    "a problem that is a list": (503, PROBLEM, b"[1]"),
    "a problem too deep": (503, PROBLEM, DEEP),
    "not known": (401, "text/plain", b""),
}


def pair_at(url: str) -> Endpoints:
    """Return the endpoints of a pair whose both sides answer at `url`."""
    return Endpoints(
        url, url, "vmm", "observer", "key-of-guests", "key-of-others", "ultravisor", "hypervisor"
    )


def answering(body: str) -> Server:
    """Return a server that gives one answer to everything."""
    status, kind, content = BODIES[body]

    async def answer(_: web.Request, __: bytes) -> web.Response:
        return web.Response(status=status, body=content, headers={"content-type": kind})

    return Server(answer)


@pytest.mark.parametrize("body", BODIES)
async def test_an_answer_that_is_not_of_the_protocol_raises_nothing_else(body: str) -> None:
    """Given something that is no service, when it is asked, then it is unanswered, refused or wrong input."""
    async with answering(body) as server:
        for actor in ACTORS.values():
            with suppress(Unanswered, Refusal, WrongInput):
                await actor(pair_at(server.url))


@pytest.mark.parametrize("body", BODIES)
async def test_what_a_command_asks_first_is_answered_by_a_service_alone(body: str) -> None:
    async with answering(body) as server:
        for actor in ("machine key", "machine key of an image", "create", "call"):
            with pytest.raises(Unanswered):
                await ACTORS[actor](pair_at(server.url))


async def nobody_answers(url: str, reason: str = "") -> None:
    """See that each actor says that there is no answer from `url`, and why."""
    for actor in ACTORS.values():
        with pytest.raises(Unreached, match=f"no answer from {url}{reason}"):
            await actor(pair_at(url))


async def break_off(request: web.Request, _: bytes) -> web.StreamResponse:
    """Break the connection."""
    return drop(request)


async def test_a_connection_that_breaks_is_unanswered() -> None:
    async with Server(break_off) as server:
        await nobody_answers(server.url)


async def test_what_is_not_http_is_unanswered() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SSH-2.0-other\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await nobody_answers(url)


async def test_a_url_at_which_nobody_listens_is_named() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        await nobody_answers(url, r" \(Connection refused\)")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("why"), "why"),
    ],
)
def test_why_there_is_no_answer_is_said_in_words(failure: Exception, reason: str) -> None:
    assert str(unreached("it", "http://h", failure)) == f"it: no answer from http://h ({reason})"
    assert str(unreached("it", "", failure)) == f"it: no answer ({reason})"


@pytest.mark.parametrize("fault", [KeyError("x"), IndexError(), TypeError(), AttributeError(), ValueError()])
def test_an_answer_that_is_not_understood_is_unanswered(fault: Exception) -> None:
    def read() -> Any:
        with understood("GET /x"):
            raise fault

    with pytest.raises(Unanswered, match=r"^GET /x: not an answer of the protocol"):
        read()


async def test_requests_bear_an_id_where_one_was_given_and_none_elsewhere() -> None:
    """Given an id for what a block asks, then its requests bear it, with the headers of their own."""
    borne: list[str | None] = []

    async def answer(request: web.Request, _: bytes) -> web.Response:
        borne.append(request.headers.get(CALL_ID))
        return web.json_response({})

    async with Server(answer) as server, Endpoint("Hypervisor", server.url, "token") as endpoint:
        with requests_named("a-call"):
            await endpoint.view("/v1/x")
            await endpoint.send("/v1/x", b"octets", {"x-other": "1"})
            await endpoint.ask("GET", "/v1/x", headers={CALL_ID: "its own"})
        await endpoint.view("/v1/x")
    assert borne == ["a-call", "a-call", "its own", None]
