"""A go-between on the wire from one service to the other: whoever conducts it decides when what passes.

It reads a request whole before it tells of it, and an answer whole before it passes it back; so between the
two nothing is half done.
"""

import json
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

from pef_lab.failures import WrongInput
from pef_protocol.calls import CALLS
from pef_protocol.events import Side
from pef_protocol.wire import CALL_ID, JSON, NORMAL_MEMORY_PATH, OCTETS, PARENT_ID

HOP_BY_HOP: Final = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
LARGEST: Final = 1 << 30
"""Bytes of a message."""
ROW: Final = struct.Struct("<QQ")
"""A row of a bus message: real address and length (bytes)."""
COUNT: Final = 8
"""Bytes before the rows of a bus message that writes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered."""

    status: int
    media: str
    content: bytes = field(repr=False)

    @property
    def code(self) -> str:
        """Return the name of the code; `nothing` where it is no answer of the protocol."""
        try:
            return str(json.loads(self.content)["code"]["name"])
        except (ValueError, KeyError, TypeError):
            return "nothing"

    @property
    def refused(self) -> list[tuple[int, int, int]]:
        """Return the runs that were refused: guest address, pages, number of the code."""
        try:
            return [(gpa, count, number) for gpa, count, number in json.loads(self.content)["refused"]]
        except (ValueError, KeyError, TypeError):
            return []

    def response(self) -> web.Response:
        """Return the answer as it is passed back."""
        return web.Response(status=self.status, body=self.content, headers={"content-type": self.media})


@dataclass
class Passage:
    """A request on its way to the service at `upstream`."""

    to: Side
    upstream: str
    request: web.Request = field(repr=False)
    body: bytes = field(repr=False)
    client: aiohttp.ClientSession = field(repr=False)

    @property
    def name(self) -> str:
        """Return the name of the call, or of the bus's road."""
        return self.request.path.rpartition("/")[2]

    @property
    def is_call(self) -> bool:
        """Tell whether it is a call of the protocol."""
        return self.name in CALLS

    @property
    def is_bus(self) -> bool:
        """Tell whether it moves bytes of normal memory."""
        return self.request.path.startswith(NORMAL_MEMORY_PATH)

    @property
    def call_id(self) -> str:
        """Return the id of the call, or nothing."""
        return self.request.headers.get(CALL_ID, "")

    @property
    def parent_id(self) -> str:
        """Return the id of the call that caused it, or nothing."""
        return self.request.headers.get(PARENT_ID, "")

    @cached_property
    def form(self) -> dict[str, Any]:
        """Return the JSON of a call; nothing where there is none."""
        is_octets = self.request.headers.get("content-type", JSON).startswith(OCTETS)
        return {} if is_octets or not self.is_call else dict(json.loads(self.body))

    @cached_property
    def rows(self) -> list[tuple[int, int]]:
        """Return what a bus message moves: real addresses and lengths (bytes)."""
        start = COUNT if self.name == "write" else 0
        count = int.from_bytes(self.body[:COUNT], "little") if start else len(self.body) // ROW.size
        return list(ROW.iter_unpack(self.body[start : start + count * ROW.size]))

    async def forward(self) -> Answer:
        """Pass the request on and return the answer."""
        kept = {name: text for name, text in self.request.headers.items() if name.lower() not in HOP_BY_HOP}
        address = self.upstream + self.request.path_qs
        async with self.client.request(
            self.request.method, address, data=self.body, headers=kept
        ) as response:
            media = response.headers.get("content-type", JSON)
            return Answer(response.status, media, await response.read())

    def drop(self) -> web.Response:
        """Close the connection without an answer."""
        if self.request.transport is not None:
            self.request.transport.abort()
        return web.Response()


Conduct = Callable[[Passage], Awaitable[web.StreamResponse]]


class GoBetween:
    """A reverse proxy before the service that is `to`; `port` 0 is any free one.

    `upstream` is where it passes requests on to, `url` what whoever calls that service is told to call.
    """

    def __init__(self, to: Side, conduct: Conduct, port: int = 0) -> None:
        self.to = to
        self.upstream = ""
        self.url = ""
        self._conduct = conduct
        self._port = port
        application = web.Application(client_max_size=LARGEST)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=1
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        except OSError as failure:
            await self._runner.cleanup()
            raise WrongInput(f"port {self._port}: {failure.strerror}") from None
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        passage = Passage(self.to, self.upstream, request, await request.read(), self._client)
        try:
            return await self._conduct(passage)
        except aiohttp.ClientError:
            return passage.drop()
