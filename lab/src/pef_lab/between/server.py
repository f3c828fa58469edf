"""A server on the wire: every request, read whole, is given to one coroutine, which says what is answered.

What it plays is its handler's business: a go-between passes requests on, a scripted peer answers them.
A handler is cancelled where whoever asked has gone; it may so wait for ever without holding anything up.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self, TypeAlias

from aiohttp import web

from pef_lab.failures import WrongInput
from pef_lab.ports import LOOPBACK

EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what a person may ask for
LARGEST: Final = 1 << 30
"""Bytes of a request."""

Handler: TypeAlias = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]
"""A request and its body; what to answer."""


class Server:
    """Listens at `host` and `port`, 0 for any free one, and has `handler` answer every request.

    `url` is where it is called on this machine.
    """

    def __init__(self, handler: Handler, host: str = LOOPBACK, port: int = 0) -> None:
        self.host = host
        self.port = port
        self._handler = handler
        application = web.Application(client_max_size=LARGEST)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=1
        )

    @property
    def url(self) -> str:
        """Return the base URL at which it listens; of no use before it does."""
        host = LOOPBACK if self.host in EVERYWHERE else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError as failure:
            await self._runner.cleanup()
            raise WrongInput(f"{self.host} port {self.port}: {failure.strerror}") from None
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        return await self._handler(request, await request.read())


def drop(request: web.Request) -> web.Response:
    """Break the connection that a request came by: it gets no answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
