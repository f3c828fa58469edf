"""Connections that are slow, silent, half sent, many, or offer what we do not speak."""

import re
import select
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import httpx
import pytest

from limits.services import CONNECTIONS, LONGEST_WAIT, Alone, alone, everything, request

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

SIDES: Final = ("ultravisor", "hypervisor")
LARGE: Final = 60 << 20
STEP: Final = 0.05
UPGRADES: Final = {
    "h2c": (
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    ),
    "websocket": (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ),
}
CALL: Final = {
    "ultravisor": "/v1/ultracalls/UV_SHARE_PAGE",
    "hypervisor": "/v1/hypercalls/H_SVM_INIT_DONE",
}


@pytest.fixture(params=SIDES)
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Alone]:
    async with alone(request.param) as running:
        yield running


async def is_served(service: Alone) -> bool:
    """Tell whether one who comes now is served."""
    async with httpx.AsyncClient(trust_env=False, timeout=LONGEST_WAIT) as client:
        return (await client.get(f"http://127.0.0.1:{service.port}/livez")).status_code == httpx.codes.OK


def side_of(service: Alone) -> str:
    return service.process.name.lower()


async def test_a_connection_that_does_not_finish_is_closed(service: Alone) -> None:
    whole = request("/v1/guest/store?gpa=0", service.guest_token(), 100)
    sent = {
        "nothing": b"",
        "half a request line": whole[:20],
        "half a head": whole[:-20],
        "a head": whole,
        "half a body": whole + bytes(50),
    }
    open_ones: list[str] = []
    with ExitStack() as stack:
        connections = {name: stack.enter_context(service.connect()) for name in sent}
        for name, connection in connections.items():
            connection.sendall(sent[name])
        assert await is_served(service)
        for name, connection in connections.items():
            if open_ones:
                connection.settimeout(0.01)
            try:
                assert b"HTTP/1.1 2" not in everything(connection)
            except TimeoutError:
                open_ones.append(name)
    assert not open_ones


@pytest.mark.parametrize("part", ["head", "body"])
async def test_a_connection_that_trickles_is_closed(part: str) -> None:
    async with alone("hypervisor") as service:
        whole = request("/v1/guest/store?gpa=0", service.guest_token(), 4096) + bytes(4096)
        at_once = whole.index(b"\r\n\r\n") + 4 if part == "body" else 0
        with service.connect() as connection:
            connection.sendall(whole[:at_once])
            assert closed_while_it_trickles(connection, whole[at_once:])


def closed_while_it_trickles(connection: socket.socket, content: bytes) -> bool:
    """Send a byte whenever nothing has come for a while; tell whether the other side closes meanwhile."""
    for at in range(int(LONGEST_WAIT / STEP)):
        try:
            connection.sendall(content[at : at + 1])
            readable, _, _ = select.select([connection], [], [], STEP)
            if readable and not connection.recv(1 << 16):
                return True
        except ConnectionError:
            return True
    return False


async def test_52_hundreds_of_idle_connections_are_bounded_and_closed(service: Alone) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))

    before = descriptors()
    with ExitStack() as stack:
        connections = [stack.enter_context(service.connect()) for _ in range(4 * CONNECTIONS)]
        for connection in connections:
            with suppress(OSError):
                connection.sendall(b"POST /v1/")
        connections[0].settimeout(LONGEST_WAIT)
        assert not everything(connections[0]).startswith(b"HTTP/1.1 2")
        assert descriptors() - before <= CONNECTIONS + 4
        for connection in connections:
            everything(connection)
    assert await is_served(service)


async def test_52_half_a_body_does_not_keep_a_service_from_stopping(service: Alone) -> None:
    with service.connect() as connection:
        connection.sendall(request("/v1/guest/store?gpa=0", service.guest_token(), 100) + bytes(50))
        assert await is_served(service)
        service.process.ask_to_stop()
        status = service.process._process.wait(timeout=LONGEST_WAIT)
    assert status in {0, -15}


@pytest.mark.verify
@pytest.mark.parametrize("known", [False, True], ids=["without a token", "with a guest's token"])
async def test_sixty_mebibytes_to_a_small_call_are_not_read(service: Alone, known: bool) -> None:
    """The least of three attempts: what a service that has just started reads beside them is no body."""
    assert await is_served(service)
    reads: list[int] = []
    for _ in range(3):
        before = service.bytes_read()
        with service.connect() as connection:
            token = service.guest_token() if known else "nobody's token at all"
            connection.sendall(request(CALL[side_of(service)], token, LARGE))
            piece = bytes(1 << 16)
            with suppress(OSError):
                for _ in range(LARGE // len(piece)):
                    connection.sendall(piece)
            answer = connection.recv(1 << 16)
        reads.append(service.bytes_read() - before)
        assert answer.startswith(b"HTTP/1.1 413" if known else b"HTTP/1.1 401")
        assert b"connection: close" in answer
    assert min(reads) < 64 << 10, f"{reads} bytes were read"


@pytest.mark.parametrize("protocol", UPGRADES)
async def test_a_body_behind_an_offered_upgrade_is_never_a_request(service: Alone, protocol: str) -> None:
    inner = b"GET /livez HTTP/1.1\r\nHost: visor\r\n\r\n"
    outer = request("/v1/guest/store?gpa=65536", service.guest_token(), len(inner), *UPGRADES[protocol])
    with service.connect() as connection:
        connection.sendall(outer)
        came = connection.recv(1 << 16)
        with suppress(OSError):
            connection.sendall(inner)
        came += everything(connection)
    assert re.findall(rb"HTTP/1.1 (\d)\d\d ", came) == [b"4"], came


@pytest.mark.parametrize("side", SIDES)
async def test_variables_of_a_library_decide_nothing(side: str) -> None:
    async with alone(
        side, WEB_CONCURRENCY="3", FORWARDED_ALLOW_IPS="*", FASTAPI_OTEL_AUTO_CONFIGURE="true"
    ) as service:
        assert await is_served(service)
        assert service.children() == ""
