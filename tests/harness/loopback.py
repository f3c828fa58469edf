"""Servers of tests on real sockets of this host: services under uvicorn, and peers that misbehave."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

Misbehave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server(uvicorn.Server):
    """A server that leaves the signals of the test run alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal over."""
        yield


@asynccontextmanager
async def served(application: ASGIApp) -> AsyncIterator[str]:
    """Serve an application as our services do and give its URL."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)  # who connects before the server is ready waits in the queue
        config = uvicorn.Config(
            application, http="httptools", lifespan="off", access_log=False, log_level="critical", ws="none"
        )
        server = Server(config)
        running = asyncio.ensure_future(server.serve([listening]))
        host, port = listening.getsockname()
        try:
            yield f"http://{host}:{port}"
        finally:
            server.should_exit = server.force_exit = True
            await running


@asynccontextmanager
async def misbehaving(answer: Misbehave) -> AsyncIterator[str]:
    """Serve connections by `answer`, once the head of a request has come, and give the URL."""
    open_ones: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        writer.close()
        open_ones.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
        await server.wait_closed()


def unused_url() -> str:
    """Return a URL at which nobody listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        host, port = listening.getsockname()
    return f"http://{host}:{port}"
