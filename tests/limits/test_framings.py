"""Every route with a body, each framing of it: what did not come whole is not acted on, and hides nothing."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from fastapi import FastAPI

from limits.pair_on_one_loop import Server
from limits.routes import CURRENT, TOKENS_OF_ALL, Visit, visits
from pef_kit.runtime.edge import VISORS
from pef_kit.runtime.examples import EXAMPLES
from pef_kit.runtime.serve import configured
from pef_kit.runtime.settings import ServiceSettings
from pef_protocol.http import EPOCH, VERSION_PATH, Role

pytestmark = pytest.mark.sockets

POSTS: Final = [visit for visit in visits() if visit.method == "POST" and "NO_SUCH" not in visit.path]
CALLS: Final = [visit for visit in POSTS if "calls/" in visit.path and visit.body.kind.startswith("JSON")]
HIDDEN: Final = f"GET {VERSION_PATH} HTTP/1.1\r\nHost: visor\r\n\r\n".encode()
"""A request that stands where a body should: nobody may answer it."""
LAST: Final = b"Host: visor\r\nConnection: close"
ITS_ANSWER: Final = b'"version"'
LONGEST: Final = 20.0
"""Seconds after which a connection that was to be closed never is."""


def body_of(visit: Visit) -> bytes:
    """Return a body that is good for a route, as far as one can be without a VM."""
    name = visit.path.rpartition("/")[2]
    if visit.body.kind.startswith("JSON"):
        return json.dumps(EXAMPLES[name][0].request if name in EXAMPLES else {"lpid": 1}).encode()
    return bytes(48)


def head(visit: Visit, *lines: str) -> bytes:
    """Return the head of a request to a route, with these headers beside what each has."""
    query = f"?{visit.body.query}" if visit.body.query else ""
    every = (
        f"POST {visit.path}{query} HTTP/1.1",
        "Host: visor",
        f"Authorization: Bearer {TOKENS_OF_ALL[visit.role]}",
        f"Content-Type: {visit.body.media}",
        *([f"{EPOCH}: {CURRENT}"] if visit.role in VISORS | {Role.VMM} else []),
        *lines,
        "",
        "",
    )
    return "\r\n".join(every).encode()


def announced(length: str, name: str = "Content-Length") -> Callable[[Visit, bytes], bytes]:
    """Return a framing whose length is `length`, in which `{}` is the length of the body."""
    return lambda visit, body: head(visit, f"{name}: {length.format(len(body))}") + body


def coded(coding: str, *lines: str) -> Callable[[Visit, bytes], bytes]:
    """Return a framing that says how the body is coded, with the body in one chunk."""
    return lambda visit, body: head(visit, f"Transfer-Encoding: {coding}", *lines) + chunked(body)


def chunked(body: bytes, size: str = "{:x}", end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a body as one chunk and an end."""
    return size.format(len(body)).encode() + b"\r\n" + body + b"\r\n" + end


def offering(*lines: str) -> Callable[[Visit, bytes], bytes]:
    """Return a framing that offers an upgrade."""
    return lambda visit, body: head(visit, f"Content-Length: {len(body)}", *lines) + body


GOOD: Final[dict[str, Callable[[Visit, bytes], bytes]]] = {
    "a length": announced("{}"),
    "chunks": coded("chunked"),
    "chunks with an extension": lambda visit, body: (
        head(visit, "Transfer-Encoding: chunked") + chunked(body, "{:x};name=value")
    ),
    "chunks with a trailer": lambda visit, body: (
        head(visit, "Transfer-Encoding: chunked") + chunked(body, end=b"0\r\nAn-Extra: field\r\n\r\n")
    ),
    "after Expect": lambda visit, body: (
        head(visit, f"Content-Length: {len(body)}", "Expect: 100-continue") + body
    ),
}
BAD: Final[dict[str, Callable[[Visit, bytes], bytes]]] = {
    "a length that is too long": lambda visit, body: head(visit, f"Content-Length: {len(body) + 1}") + body,
    "two lengths": lambda visit, body: (
        head(visit, f"Content-Length: {len(body)}", f"Content-Length: {len(body) + len(HIDDEN)}") + body
    ),
    "a list of lengths": announced("{0}, {0}"),
    "a signed length": announced("+{}"),
    "a negative length": announced("-{}"),
    "a hexadecimal length": announced("0x{}"),
    "a length with a point": announced("{}.0"),
    "a length that no machine word holds": announced("1" + "0" * 30),
    "a space before the colon": announced("{}", "Content-Length "),
    "a length in a folded line": lambda visit, body: (
        head(visit, "X: y", f" Content-Length: {len(body)}") + body
    ),
    "a length beside chunks": lambda visit, body: (
        head(visit, f"Content-Length: {len(body)}", "Transfer-Encoding: chunked") + chunked(body)
    ),
    "chunks beside a length": lambda visit, body: (
        head(visit, "Transfer-Encoding: chunked", f"Content-Length: {len(body)}") + body
    ),
    "a coding that nobody knows": coded("chunky"),
    "a coding behind chunks": coded("chunked, gzip"),
    "chunks that do not end": lambda visit, body: (
        head(visit, "Transfer-Encoding: chunked") + chunked(body, end=b"")
    ),
    "a chunk that ends too early": lambda visit, body: (
        head(visit, "Transfer-Encoding: chunked") + f"{len(body) + 9:x}\r\n".encode() + body
    ),
    "a chunk of no size": lambda visit, body: (
        head(visit, "Transfer-Encoding: chunked") + chunked(body, "size")
    ),
    "a chunk of a huge size": lambda visit, body: (
        head(visit, "Transfer-Encoding: chunked") + chunked(body, "f" * 17)
    ),
    "an upgrade to HTTP/2": offering(
        "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"
    ),
    "an upgrade to WebSocket": offering("Connection: Upgrade", "Upgrade: websocket"),
    "an upgrade to TLS": offering("Connection: upgrade", "Upgrade: TLS/1.2"),
    "an upgrade in name alone": offering("Upgrade: h2c"),
}
CUT_SHORT: Final = {"a length that is too long", "chunks that do not end", "a chunk that ends too early"}
"""Of these only the end of the connection tells that no more comes; of the others the service ends it."""


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[tuple[str, int]]:
    """Serve an application in its epoch, without a peer; give its address."""
    place = socket.create_server(("127.0.0.1", 0))
    settings = ServiceSettings.model_construct(read_timeout=LONGEST, stop_timeout=1, connections=64)
    config = configured(app, settings)
    config.lifespan = "off"
    server = Server(config)
    task = asyncio.create_task(server.serve([place]))
    try:
        yield place.getsockname()
    finally:
        server.should_exit = True
        await task


async def answered(address: tuple[str, int], sent: bytes, *, leaves: bool) -> bytes:
    """Send `sent`, and say no more if the client `leaves`; return all that comes until it is closed."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(LONGEST):
            writer.write(sent)
            if leaves:
                writer.write_eof()
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def statuses(came: bytes) -> list[str]:
    """Return the classes of the statuses of all final answers."""
    return [found.decode() for found in re.findall(rb"HTTP/1\.1 ([2-5])\d\d ", came)]


def observed(visit: Visit) -> int:
    """Return how many events a side has recorded."""
    last: int = visit.app.state.service.observer.last
    return last


APPS: Final[dict[str, FastAPI]] = {visit.app.state.service.side.value: visit.app for visit in POSTS}


@pytest.mark.parametrize("behind", [b"", HIDDEN], ids=["nothing behind it", "a request behind it"])
@pytest.mark.parametrize("framing", GOOD)
@pytest.mark.parametrize("side", APPS)
async def test_a_body_that_comes_whole_is_acted_on(side: str, framing: str, behind: bytes) -> None:
    """So that the test below can fail: the same body, framed well, makes each call begin and end.

    The request says that it is the last one: nothing that comes behind it is answered.
    """
    wrong: dict[str, Any] = {}
    async with served(APPS[side]) as address:
        for visit in CALLS:
            if visit.app is not APPS[side]:
                continue
            before = observed(visit)
            sent = GOOD[framing](visit, body_of(visit)).replace(b"Host: visor", LAST, 1) + behind
            came = await answered(address, sent, leaves=False)
            if statuses(came) != ["2"] or ITS_ANSWER in came or observed(visit) != before + 2:
                wrong[visit.name] = came
    assert not wrong


@pytest.mark.parametrize("framing", BAD)
@pytest.mark.parametrize("side", APPS)
async def test_a_body_that_does_not_is_not(side: str, framing: str) -> None:
    """Given each route that takes a body, with a body that is good for it, and a request hidden behind it.

    When the framing is ambiguous, wrong, cut short, or hands the connection to another protocol,
    then nothing begins, and there is one answer or none, which is a refusal.
    """
    wrong: dict[str, Any] = {}
    async with served(APPS[side]) as address:
        for visit in POSTS:
            if visit.app is not APPS[side]:
                continue
            whole = BAD[framing](visit, body_of(visit))
            hides = "upgrade" in framing or "lengths" in framing or "beside" in framing
            for sent in (whole, whole + HIDDEN) if hides else (whole,):
                before = observed(visit)
                came = await answered(address, sent, leaves=framing in CUT_SHORT)
                if statuses(came) not in ([], ["4"]) or ITS_ANSWER in came or observed(visit) != before:
                    wrong[visit.name] = came
    assert not wrong
