"""A go-between on the wire from one service to the other: whoever conducts it decides when what passes.

It reads a request whole before it tells of it, and an answer whole before it passes it back; so between the
two nothing is half done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeAlias

import aiohttp
from aiohttp import web

from pef_lab.between.numbers import Numbers
from pef_lab.between.passing import Answer, Passing
from pef_lab.between.server import Server, drop
from pef_lab.ports import LOOPBACK
from pef_protocol.events import Side
from pef_protocol.http import JSON

Conduct: TypeAlias = Callable[[Passing], Awaitable[web.StreamResponse]]
"""What is done with a request, well or ill; what it returns is answered."""


class GoBetween:
    """A reverse proxy before the service that is `to`; `port` 0 is any free one.

    `upstream` is where it passes requests on to, `url` what whoever calls that service is told to call. A
    service that is not there is as one that breaks the connection.
    """

    def __init__(self, to: Side, conduct: Conduct, host: str = LOOPBACK, port: int = 0) -> None:
        self.to = to
        self.upstream = ""
        self._conduct = conduct
        self._numbers = Numbers()
        self._server = Server(self._handle, host, port)
        self._late: set[asyncio.Future[Answer]] = set()
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def url(self) -> str:
        """Return the base URL at which it listens."""
        return self._server.url

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, fault, where)
        await self.settled()
        await self._client.close()

    async def forward(self, request: web.Request, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Pass a request on and return the answer."""
        answer = await self._sent(request, body, self._numbers.of(headers))
        while answer.is_out_of_step and (lower := self._numbers.lower(headers)) is not None:
            answer = await self._sent(request, body, lower)
        return answer

    async def _sent(self, request: web.Request, body: bytes, headers: Mapping[str, str]) -> Answer:
        address = self.upstream + request.path_qs
        async with self._client.request(request.method, address, data=body, headers=headers) as response:
            media = response.headers.get("content-type", JSON)
            return Answer(response.status, media, await response.read(), dict(response.headers))

    async def settled(self) -> None:
        """Wait until nobody waits for an answer, and all that was to be done afterwards is done."""
        await self._idle.wait()
        while self._late:
            await asyncio.gather(*self._late, return_exceptions=True)
            self._late = {task for task in self._late if not task.done()}

    async def _handle(self, request: web.Request, body: bytes) -> web.StreamResponse:
        self._open += 1
        self._idle.clear()
        try:
            return await self._conduct(Passing(self.to, request, body, self.forward, self._afterwards))
        except aiohttp.ClientError:
            return drop(request)
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    def _afterwards(self, action: Awaitable[Answer]) -> None:
        self._late.add(asyncio.ensure_future(action))
