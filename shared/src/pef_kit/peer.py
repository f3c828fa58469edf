"""Calls to the peer over HTTP: the only file of a service that knows an HTTP client.

Trust: the peer is not believed. What is no answer of the protocol - no connection, too late, not JSON, a code
that the call may not give - is a `PeerFailure` that names call, peer and reason.

Order: a call that the peer makes back to us while it answers ours travels one level deeper, and every depth
has its own pool of connections. So a burst of nested calls can wait for each other's answers, but never for
each other's connections.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from typing import Any, Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

from pef_kit.observers import CURRENT, CallContext
from pef_kit.operations import PeerFailure
from pef_protocol.calls import CALLS, Call, Reply
from pef_protocol.codes import Code, HCode, UCode
from pef_protocol.runs import CodedRuns, Runs
from pef_protocol.wire import (
    CALL_ID,
    DEPTH,
    HYPERCALL_PATH,
    JSON,
    MAX_DEPTH,
    OCTETS,
    PARENT_ID,
    RUNS_IN_JSON,
    TRACEPARENT,
    ULTRACALL_PATH,
)

KEEPALIVE: Final = 120.0
"""Seconds that an idle connection is kept; services keep their end far longer."""

LONGEST_ANSWER: Final = 64 << 20
"""Bytes that the answer to a call may have."""

AiohttpResponseStream.CHUNK_SIZE = 1 << 20


@cache
def _trusted() -> ssl.SSLContext:
    """Return what HTTPS is verified with: made once, for it takes 16 ms and a peer has many clients."""
    return httpx.create_ssl_context(trust_env=False)


def client_of(base_url: str, token: str, *, connections: int, timeout: float) -> httpx.AsyncClient:
    """Return an HTTP client that speaks for the role of `token`."""
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=KEEPALIVE,
    )
    return httpx.AsyncClient(
        base_url=base_url,
        headers={"authorization": f"Bearer {token}", "accept-encoding": "identity"},
        transport=AiohttpTransport(verify=_trusted(), limits=limits, trust_env=False),
        timeout=timeout,
        trust_env=False,
    )


def encode_call(call: Call, request: Any) -> dict[str, Any]:
    """Return path, body, media type and query of `request`: JSON, or octets where it has many runs."""
    path = (ULTRACALL_PATH if call.is_ultracall else HYPERCALL_PATH) + call.name
    arguments = {field.name: getattr(request, field.name) for field in fields(request)}
    runs = arguments.get("runs")
    if isinstance(runs, Runs):
        if len(runs) > RUNS_IN_JSON:
            del arguments["runs"]
            headers = {"content-type": OCTETS}
            return {"url": path, "params": arguments, "content": runs.words, "headers": headers}
        arguments["runs"] = list(runs)
    return {
        "url": path,
        "content": json.dumps(arguments).encode(),
        "headers": {"content-type": JSON},
    }


def decode_reply(call: Call, body: bytes) -> Reply:
    """Return the reply in `body`; raise ValueError where it is no reply that `call` may have."""
    envelope = json.loads(body)
    codes: type[Code] = UCode if call.is_ultracall else HCode
    code = codes[envelope["code"]["name"]]
    if code not in call.codes or envelope["code"]["number"] != code:
        message = f"{code.name} ({envelope['code']['number']}) is not an answer to it"
        raise ValueError(message)
    outputs = envelope["outputs"]
    if not isinstance(outputs, dict):
        message = "its outputs are not an object"
        raise TypeError(message)
    refused = CodedRuns.from_rows(envelope["refused"])
    impossible = {number for _, _, number in refused.coded()} - (call.codes - {call.success})
    if impossible:
        message = f"a run of it can't be refused with {min(impossible)}"
        raise ValueError(message)
    return Reply(code, outputs, refused, str(envelope["detail"]))


class Peer:
    """The other side, by HTTP."""

    def __init__(
        self,
        name: str,
        base_url: str,
        token: str,
        *,
        connections: int,
        timeout: float,
        new_id: Callable[[], str],
    ) -> None:
        self.name = name
        self._new_id = new_id
        self.timeout = timeout
        self._clients = [
            client_of(base_url, token, connections=connections, timeout=timeout) for _ in range(MAX_DEPTH + 1)
        ]
        self._turns = [asyncio.Semaphore(connections) for _ in range(MAX_DEPTH + 1)]

    def _headers(self, call_id: str) -> dict[str, str]:
        parent = CURRENT.get() or CallContext()
        headers = {CALL_ID: call_id, PARENT_ID: parent.call_id, DEPTH: str(parent.depth + 1)}
        if parent.traceparent:
            version, trace_id, _, flags = parent.traceparent.split("-")
            headers[TRACEPARENT] = f"{version}-{trace_id}-{call_id[-16:].rjust(16, '0')}-{flags}"
        return headers

    def _depth(self, what: str) -> int:
        depth = (CURRENT.get() or CallContext()).depth + 1
        if depth > MAX_DEPTH:
            raise PeerFailure(what, self.name, f"calls are nested deeper than {MAX_DEPTH}")
        return depth

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        """Turn whatever a connection may do into a PeerFailure of `what`."""
        try:
            yield
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as failure:
            cause = failure.__cause__ or failure
            late = isinstance(failure, TimeoutError) or isinstance(cause, TimeoutError)
            reason = f"no connection ({type(cause).__name__}: {cause})"
            raise PeerFailure(
                what, self.name, f"no answer within {self.timeout:g} s" if late else reason
            ) from None

    async def call(self, name: str, request: object) -> Reply:
        """Make call `name` and return its reply; raise PeerFailure where there is none."""
        call = CALLS[name]
        form = encode_call(call, request)
        form["headers"] |= self._headers(self._new_id())
        depth = self._depth(name)
        with self._reaching(name):
            async with (
                asyncio.timeout(self.timeout),
                self._turns[depth],
                self._clients[depth].stream("POST", **form) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise PeerFailure(name, self.name, f"HTTP status {response.status_code}")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise PeerFailure(name, self.name, "an answer that is packed, which nobody asked for")
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > LONGEST_ANSWER:
                        raise PeerFailure(name, self.name, f"an answer of over {LONGEST_ANSWER} bytes")
        try:
            return decode_reply(call, bytes(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
            raise PeerFailure(name, self.name, f"not an answer of the protocol: {failure}") from None

    async def send(self, path: str, content: AsyncIterator[bytes], length: int) -> None:
        """Stream `length` bytes to `path` of the peer; raise PeerFailure where they are not taken."""
        depth = self._depth(path)
        headers = {"content-type": OCTETS, "content-length": str(length), DEPTH: str(depth)}
        with self._reaching(path):
            async with (
                self._turns[depth],
                # Trust: the status is all that is read, for a body might never end.
                self._clients[depth].stream("POST", path, content=content, headers=headers) as response,
            ):
                status = response.status_code
        if status != httpx.codes.NO_CONTENT:
            raise PeerFailure(path, self.name, f"HTTP status {status}")

    async def receive(self, path: str, content: bytes) -> AsyncGenerator[bytes, None]:
        """Post `content` to `path` and yield what comes back; raise PeerFailure where it is refused."""
        depth = self._depth(path)
        headers = {"content-type": OCTETS, DEPTH: str(depth)}
        with self._reaching(path):
            async with (
                self._turns[depth],
                self._clients[depth].stream("POST", path, content=content, headers=headers) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise PeerFailure(path, self.name, f"HTTP status {response.status_code}")
                async for chunk in response.aiter_raw():
                    yield chunk

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.aclose()
