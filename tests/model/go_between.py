"""A go-between on the wire from one service to the other: it keeps what passes, and meddles when told.

    between.answers("H_SVM_PAGE_IN", silent, garbage(b"<"))     the next two requests of that name
    between.at(3, dropped)                                      the third request from now on
    between.always("H_SVM_INIT_DONE", refuse(HCode.H_STATE))    every one

A request that no script speaks of is passed on, and so is its answer. Nothing here waits a fixed time: a
go-between that is silent stays so until whoever asked has given up.
"""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

from pef_protocol.wire import JSON

HOP_BY_HOP: Final = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that passed, and the body of its answer."""

    path: str
    query: str
    headers: str
    asked: bytes = field(repr=False)
    status: int
    answered: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Return the name of the call."""
        return self.path.rpartition("/")[2]

    @property
    def everything(self) -> bytes:
        """Return all that whoever answered, or asked, has seen of it."""
        return b"\n".join((f"{self.path}?{self.query}\n{self.headers}".encode(), self.asked, self.answered))

    def form(self) -> dict[str, Any]:
        """Return the JSON that was asked; nothing where it was none."""
        return dict(json.loads(self.asked)) if self.asked[:1] == b"{" else {}


@dataclass(slots=True)
class Passing:
    """A request on its way: to be passed on, once or more often, or not at all."""

    between: "GoBetween"
    request: web.Request
    body: bytes

    @property
    def name(self) -> str:
        """Return the name of the call."""
        return self.request.path.rpartition("/")[2]

    @property
    def form(self) -> dict[str, Any]:
        """Return the JSON of the request."""
        return dict(json.loads(self.body))

    async def forward(self) -> web.Response:
        """Pass the request on and return the answer."""
        return await self.between.forward(self.request, self.body)


Answer = Callable[[Passing], Awaitable[web.StreamResponse]]


class GoBetween:
    """A reverse proxy in this process; `upstream` is where it passes requests on to."""

    def __init__(self) -> None:
        self.upstream = ""
        self.url = ""
        self.exchanges: list[Exchange] = []
        self.names: list[str] = []
        """Names of all requests since the last `honest_again`, answered or not."""
        self._script: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._always: dict[str, Answer] = {}
        self._at: dict[int, Answer] = {}
        self._late: set[asyncio.Task[web.Response]] = set()
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=1
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.settled()
        await self._runner.cleanup()
        await self._client.close()

    # The script

    def answers(self, name: str, *answers: Answer) -> None:
        """Answer the next requests of that name so; honestly after them."""
        self._script[name].extend(answers)

    def always(self, name: str, answer: Answer) -> None:
        """Answer every request of that name so."""
        self._always[name] = answer

    def at(self, number: int, answer: Answer) -> None:
        """Answer request `number` since the last `honest_again`, from 1, so."""
        self._at[number] = answer

    def honest_again(self) -> None:
        """Forget all scripts, and count requests from here."""
        self._script.clear()
        self._always.clear()
        self._at.clear()
        self.names.clear()

    # The wire

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._open += 1
        self._idle.clear()
        try:
            return await self._answer(Passing(self, request, await request.read()))
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def _answer(self, passing: Passing) -> web.StreamResponse:
        self.names.append(passing.name)
        queue = self._script[passing.name]
        scripted = self._at.pop(len(self.names), None)
        if scripted is None:
            scripted = queue.popleft() if queue else self._always.get(passing.name, honest)
        return await scripted(passing)

    async def forward(self, request: web.Request, body: bytes) -> web.Response:
        """Pass a request on, keep the exchange, and return the answer."""
        headers = {name: text for name, text in request.headers.items() if name.lower() not in HOP_BY_HOP}
        async with self._client.request(
            request.method, self.upstream + request.path_qs, data=body, headers=headers
        ) as response:
            content = await response.read()
            kept = str([*request.headers.items(), *response.headers.items()])
            self.exchanges.append(
                Exchange(request.path, request.query_string, kept, body, response.status, content)
            )
            media = {"content-type": response.headers.get("content-type", JSON)}
            return web.Response(status=response.status, body=content, headers=media)

    def later(self, passing: Passing) -> None:
        """Pass a request on although nobody waits for its answer any more."""
        task = asyncio.create_task(passing.forward())
        self._late.add(task)

    async def settled(self) -> None:
        """Wait until nobody waits for an answer, and every late request has been answered."""
        await self._idle.wait()
        while self._late:
            await asyncio.gather(*self._late, return_exceptions=True)
            self._late = {task for task in self._late if not task.done()}


async def honest(passing: Passing) -> web.StreamResponse:
    """Pass the request on, and its answer back."""
    return await passing.forward()
