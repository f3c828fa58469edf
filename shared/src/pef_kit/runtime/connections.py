"""Connections to the peer: an HTTP client for each depth of nesting, and what travels there that is no call.

Beside calls that is the memory bus, as streams of octets, and the exchanges by which an epoch begins.

Order: a call that the peer makes back to us while it answers ours travels one level deeper, and every depth
has its own connections. So a burst of nested calls can wait for each other's answers, but never for each
other's connections.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

from pef_kit.core.effects import PeerFailure
from pef_kit.core.life import Life
from pef_kit.runtime.trace import CURRENT, CallContext
from pef_protocol.http import DEPTH, EPOCH, JSON, MAX_DEPTH, OCTETS

KEEPALIVE: Final = 120.0
"""Seconds that an idle connection is kept; services keep their end far longer."""

UNREACHED: Final = (httpx.HTTPError, aiohttp.ClientError, OSError)
"""What a client raises that gets no answer of HTTP: aiohttp's exceptions are not all turned into httpx's."""

AiohttpResponseStream.CHUNK_SIZE = 1 << 20


class NoOutcome(Exception):
    """An attempt that says nothing of what was done."""


@cache
def _trusted() -> ssl.SSLContext:
    """Return what HTTPS is verified with: made once, for it takes 16 ms and a peer has many clients."""
    return httpx.create_ssl_context(trust_env=False)


def transport_of(connections: int) -> AiohttpTransport:
    """Return a transport of at most so many connections, which are kept."""
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=KEEPALIVE,
    )
    return AiohttpTransport(verify=_trusted(), limits=limits, trust_env=False)


def headers_of(token: str) -> dict[str, str]:
    """Return what every request bears that speaks for the role of `token`."""
    return {"authorization": f"Bearer {token}", "accept-encoding": "identity"}


def client_of(
    base_url: str,
    token: str,
    *,
    connections: int,
    timeout: float,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Return an HTTP client that speaks for the role of `token`, on a transport of its own unless given."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers=headers_of(token),
        transport=transport or transport_of(connections),
        timeout=timeout,
        trust_env=False,
    )


class PeerConnections:
    """The connections to one peer. `timeout` (seconds) bounds one exchange.

    `transport` makes what carries the requests of one depth, from the number of its connections.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        token: str,
        *,
        connections: int,
        timeout: float,
        transport: Callable[[int], httpx.AsyncBaseTransport] = transport_of,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._base_url = base_url.rstrip("/")
        self._urls: dict[str, httpx.URL] = {}
        """The whole URL of each call: to parse one takes as long as to send it."""
        self._transports = [transport(connections) for _ in range(MAX_DEPTH + 1)]
        self._clients = [
            client_of(base_url, token, connections=connections, timeout=timeout, transport=transport)
            for transport in self._transports
        ]
        self._turns = [asyncio.Semaphore(connections) for _ in range(MAX_DEPTH + 1)]

    def _depth(self, what: str) -> int:
        depth = (CURRENT.get() or CallContext()).depth + 1
        if depth > MAX_DEPTH:
            raise PeerFailure(what, self.name, f"calls are nested deeper than {MAX_DEPTH}", done=False)
        return depth

    @contextmanager
    def _reaching(self, seconds: float) -> Iterator[None]:
        """Turn whatever a connection may do into NoOutcome."""
        try:
            yield
        except UNREACHED as failure:
            cause = failure.__cause__ or failure
            late = isinstance(failure, TimeoutError) or isinstance(cause, TimeoutError)
            reason = f"no connection ({type(cause).__name__}: {cause})"
            raise NoOutcome(f"no answer within {seconds:g} s" if late else reason) from None

    @contextmanager
    def _bus(self, path: str) -> Iterator[None]:
        """Turn whatever a connection may do into a PeerFailure: a transfer that broke off has failed."""
        try:
            with self._reaching(self.timeout):
                yield
        except NoOutcome as failure:
            raise PeerFailure(path, self.name, str(failure)) from None

    def _bus_headers(self, depth: int, lives: tuple[Life, ...]) -> dict[str, str]:
        headers = {"content-type": OCTETS, DEPTH: str(depth)}
        epoch = next((life.epoch for life in lives if life.epoch), None)
        return headers | ({EPOCH: str(epoch)} if epoch else {})

    async def send(
        self, path: str, content: AsyncIterator[bytes], length: int, lives: tuple[Life, ...] = ()
    ) -> None:
        """Stream `length` bytes to `path` of the peer; raise PeerFailure where they are not taken."""
        depth = self._depth(path)
        headers = self._bus_headers(depth, lives) | {"content-length": str(length)}
        with self._bus(path):
            async with (
                self._turns[depth],
                # Trust: the status is all that is read, for a body might never end.
                self._clients[depth].stream("POST", path, content=content, headers=headers) as response,
            ):
                status = response.status_code
        if status != httpx.codes.NO_CONTENT:
            raise PeerFailure(path, self.name, f"HTTP status {status}")

    async def receive(
        self, path: str, content: bytes, lives: tuple[Life, ...] = ()
    ) -> AsyncGenerator[bytes, None]:
        """Post `content` to `path` and yield what comes back; raise PeerFailure where it is refused."""
        depth = self._depth(path)
        headers = self._bus_headers(depth, lives)
        with self._bus(path):
            async with (
                self._turns[depth],
                self._clients[depth].stream("POST", path, content=content, headers=headers) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise PeerFailure(path, self.name, f"HTTP status {response.status_code}")
                async for chunk in response.aiter_raw():
                    yield chunk

    async def exchange(self, method: str, path: str, content: object = None) -> tuple[int, dict[str, Any]]:
        """Make a request that is no call, return status and JSON; raise PeerFailure where none comes."""
        body = b"" if content is None else json.dumps(content).encode()
        try:
            with self._reaching(self.timeout):
                async with asyncio.timeout(self.timeout):
                    response = await self._clients[0].request(
                        method, path, content=body, headers={"content-type": JSON}
                    )
            answer = json.loads(response.content)
        except (NoOutcome, ValueError, RecursionError) as failure:
            raise PeerFailure(path, self.name, str(failure)) from None
        if not isinstance(answer, dict):
            raise PeerFailure(path, self.name, "an answer that is no object")
        return response.status_code, answer

    def _url_of(self, form: dict[str, Any]) -> httpx.URL:
        """Return the whole URL of a call."""
        path = form["url"]
        if path not in self._urls:
            self._urls[path] = httpx.URL(self._base_url + path)
        url = self._urls[path]
        return url.copy_with(params=form["params"]) if "params" in form else url

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.aclose()
