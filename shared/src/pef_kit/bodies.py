"""Bodies of requests: how long each may be, how long it may take, and whether all of it came.

A route's role is known before a byte of its body is read. Limits are checked while reading, so a body costs
what it may have, never what it has.

| body | bytes |
|---|---|
| a call without runs, and whatever else is JSON | 4 KiB |
| runs as JSON; runs as octets from anyone but a visor | 64 KiB |
| runs as octets from a visor | `RUNS_AT_ONCE` rows |
| octets of memory from a guest or the VMM | 16 MiB |
| the memory bus | what its own head says, as a stream |
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from pef_kit.doors import Problem
from pef_protocol.calls import Call
from pef_protocol.wire import PROBLEM, RUNS_AT_ONCE, Caller, Role

SMALL: Final = 4 << 10
JSON_OF_RUNS: Final = 64 << 10
MEMORY: Final = 16 << 20
WORD_BYTES: Final = 8

READ_TIMEOUT: Final = 30.0
"""Seconds that a request may take to arrive, beside the time that its bytes take."""
SLOWEST: Final = 1 << 20
"""Bytes a second that a sender must send at least, beyond that."""

VISORS: Final = frozenset({Role.ULTRAVISOR, Role.HYPERVISOR})


def limit_of(call: Call, caller: Caller, *, octets: bool) -> int:
    """Return how many bytes the body of a call may have."""
    if call.runs is None:
        return SMALL
    if octets and caller.role in VISORS:
        return RUNS_AT_ONCE * call.runs.WIDTH * WORD_BYTES
    return JSON_OF_RUNS


def announced_length(request: Request) -> int | None:
    """Return the Content-Length of a request, None where its body is chunked; raise Problem 400 on junk."""
    text = request.headers.get("content-length")
    if text is None:
        return None if "transfer-encoding" in request.headers else 0
    if not (text.isascii() and text.isdecimal()):
        raise Problem(400, "Bad Request", "Content-Length is no number", "content-length")
    return int(text)


async def pieces_of(
    request: Request, limit: int | None, seconds: float = READ_TIMEOUT
) -> AsyncIterator[bytes]:
    """Yield the body of a request as it comes; `limit` in bytes (None: the caller counts).

    It has `seconds`, and more by its size. Raise Problem: 413 where it is over the limit, before a byte is
    read if it says so; 408 where it is late; 400 where another number of bytes came than was announced, as
    happens behind an offered upgrade.
    """
    announced = announced_length(request)
    if limit is not None and announced is not None and announced > limit:
        raise Problem(413, "Content Too Large", f"a body may have {limit} bytes, not {announced}")
    loop = asyncio.get_running_loop()
    came, left = 0, seconds
    stream = request.stream()
    while True:
        began = loop.time()
        try:
            async with asyncio.timeout(left):
                piece = await anext(stream, None)
        except TimeoutError:
            raise Problem(408, "Request Timeout", f"only {came} bytes of the body came in time") from None
        except ClientDisconnect:
            raise Problem(400, "Bad Request", f"only {came} bytes of the body came") from None
        if piece is None:
            break
        came += len(piece)
        left += len(piece) / SLOWEST - (loop.time() - began)
        if limit is not None and came > limit:
            raise Problem(413, "Content Too Large", f"a body may have {limit} bytes")
        if piece:
            yield piece
    if announced is not None and came != announced:
        raise Problem(400, "Bad Request", f"{announced} bytes were announced, and {came} came")


async def read_body(request: Request, limit: int, seconds: float = READ_TIMEOUT) -> bytes:
    """Return the body of a request; raise Problem as `pieces_of` does."""
    body = bytearray()
    async for piece in pieces_of(request, limit, seconds):
        body += piece
    return bytes(body)


class RefuseUpgrades:
    """Refuse requests that offer another protocol: we make no upgrade, and their bodies do not arrive.

    A parser that sees the offer takes no body; what follows would be read as a request of its own.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 400, or pass the request on."""
        if scope["type"] == "http" and offers_upgrade(scope["headers"]):
            await refuse(send, "this service speaks HTTP/1.1 alone: ask again without Upgrade")
            return
        await self._app(scope, receive, send)


def offers_upgrade(headers: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether the headers of a request offer another protocol."""
    return any(
        name == b"upgrade" or (name == b"connection" and b"upgrade" in value.lower())
        for name, value in headers
    )


async def refuse(send: Any, detail: str) -> None:
    """Send a problem with status 400, after which the connection is closed."""
    problem = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": detail}
    body = json.dumps(problem).encode()
    headers = [
        (b"content-type", PROBLEM.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
