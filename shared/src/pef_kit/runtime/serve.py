"""Serve an application until it is told to stop, over connections that are bounded.

uvicorn bounds neither how long a connection may take to send a head, nor how many there are, nor what is read
of each. Its own protocol stays what answers; `Connection` stands before it and

- reads at most `FIRST_READ` bytes before a route was found and its role decided, for the bytes that a
  transport reads are read whether anybody wants them or not;
- closes a connection whose head does not come in time (the body's time is that of `pef_kit.runtime.edge`);
- lets the connection that has been idle for longest make way where there are too many;
- closes a connection, once the answer is out, of whose body not all was read, or which offered an upgrade:
  what is left of it must never be taken for a request;
- keeps nothing of what was received: an event loop's own buffer would keep it until others call.
"""

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import uvicorn
from fastapi import FastAPI
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from pef_kit.runtime.command_line import refuse
from pef_kit.runtime.listening import bound
from pef_kit.runtime.log import Log, Records
from pef_kit.runtime.otlp import ExtraMissing
from pef_kit.runtime.settings import ServiceSettings
from pef_kit.runtime.volume import VolumeTaken

S = TypeVar("S", bound=ServiceSettings)

FIRST_READ: Final = 16 << 10
"""Bytes that are read at once while no handler asks for a body: a head, and a small body beside it."""
NEXT_READ: Final = 256 << 10
"""Bytes that are read at once of a body that a handler asks for."""
LONGEST_HEAD: Final = 32 << 10
"""Bytes that the head of a request may have."""
_ZEROES: Final = bytes(NEXT_READ)
LINGER: Final = 1.0
"""Seconds for which a connection is kept after an answer that came before all of the body was read."""
KEEPALIVE: Final = 150
"""Seconds that an idle connection is kept: longer than any peer keeps its end."""

SWITCH: Final = 0.0002
"""Seconds after which a thread that moves pages makes way for the event loop."""


@dataclass(slots=True)
class Limits:
    """Limits that the connections of one service share; `head_timeout` in seconds."""

    head_timeout: float
    connections: int
    open: int = 0
    idle: "dict[Http, None]" = field(default_factory=dict)
    """Connections that have no request under way, the one that has been so for longest first."""


class Http(HttpToolsProtocol):
    """uvicorn's protocol, which tells its connection where a request begins and ends."""

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self.limits = limits
        self.upgrading = False
        self.ending = False
        self._head_deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._stays = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, in the place of an idle one where there are too many."""
        super().connection_made(transport)
        self.limits.open += 1
        self.limits.idle[self] = None
        self._expect_head()
        if self.limits.open > self.limits.connections:
            next(iter(self.limits.idle)).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.limits.open -= 1
        self.limits.idle.pop(self, None)
        self._stop_clock()
        super().connection_lost(exc)

    @property
    def wants_body(self) -> bool:
        """Tell whether a request is under way of whose body more is to come."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.more_body

    def data_received(self, data: bytes) -> None:
        """Parse what came; what comes after an offered upgrade is nobody's."""
        if self.upgrading or self.ending or self.transport.is_closing():
            return
        if self._in_head:
            self._expect_head()
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
                self.transport.abort()
                return
        super().data_received(data)
        if self.wants_body and not self.upgrading:
            self.flow.pause_reading()  # until the handler asks for more

    def on_headers_complete(self) -> None:
        """Begin a request: from here on time is the handler's."""
        self._in_head = False
        self._stop_clock()
        self.limits.idle.pop(self, None)
        super().on_headers_complete()
        self.upgrading = self.parser.should_upgrade()
        # uvicorn closes where this is False: it is so until all of the body has come.
        self._stays, self.cycle.keep_alive = self.cycle.keep_alive and not self.upgrading, False
        self.cycle.transport = _Ending(self.transport, self)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """Note that all of a request has come."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0
        self.cycle.keep_alive = self._stays

    def on_response_complete(self) -> None:
        """Be idle again, or go on with the next request."""
        if self.ending:
            return
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self.limits.idle[self] = None

    def end(self) -> None:
        """Close after an answer; what was not read is left to the kernel until the other side has read it."""
        if self.ending or self.transport.is_closing():
            return
        if self.wants_body or self.upgrading:
            self.ending = True
            self.flow.pause_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.loop.call_later(LINGER, self.transport.close)
        else:
            self.transport.close()

    def _expect_head(self) -> None:
        if self._head_deadline is None:
            self._unset_keepalive_if_required()
            self._head_deadline = self.loop.call_later(self.limits.head_timeout, self._too_late)

    def _too_late(self) -> None:
        self._head_deadline = None
        self.transport.abort()

    def _stop_clock(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None


class _Ending:
    """The transport as an answer sees it: closing it is the connection's business."""

    def __init__(self, transport: asyncio.Transport, http: Http) -> None:
        self.write: Callable[[bytes], None] = transport.write
        self.is_closing = transport.is_closing
        self.close = http.end


class Connection(asyncio.BufferedProtocol):
    """One connection: reads as little as it may, and hands it to uvicorn's protocol."""

    def __init__(
        self,
        limits: Limits,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._http = Http(limits, config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        self._first = bytearray(FIRST_READ)
        self._next: bytearray | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Hand the transport on."""
        self._http.connection_made(transport)

    def get_buffer(self, _: int) -> bytearray:
        """Return where the next bytes go: a small place, or a large one for a body that is asked for."""
        if not self._http.wants_body:
            self._next = None
            return self._first
        if self._next is None:
            self._next = bytearray(NEXT_READ)
        return self._next

    def buffer_updated(self, count: int) -> None:
        """Hand on what has come, and zero it: it may be what a guest stores."""
        buffer = self._first if self._next is None else self._next
        with memoryview(buffer)[:count] as received:
            try:
                self._http.data_received(received)  # type: ignore[arg-type] # the parser copies
            finally:
                received[:] = _ZEROES[:count]

    def eof_received(self) -> None:
        """Hand the end on."""
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand the end on."""
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand on that the other side reads too slowly."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Hand on that it reads again."""
        self._http.resume_writing()


def build_and_serve(build: Callable[[S], FastAPI], settings: S) -> None:
    """Build the service and serve it; end with one line and status 2 where it may not start."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(place) for place in bound(settings)]
        try:
            app = build(settings)
        except (VolumeTaken, ExtraMissing, OSError) as failed:
            refuse(str(failed))
        serve(app, settings, sockets)


def serve(app: FastAPI, settings: ServiceSettings, sockets: list[socket.socket] | None = None) -> None:
    """Serve `app` at `sockets`, or where the settings say; what libraries log goes to the service's own log.

    What was made by now lives as long as the process, so the collector need not look at it again.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH)
    log: Log = app.state.service.observer.log
    records, root = Records(log), logging.getLogger()
    root.addHandler(records)
    try:
        uvicorn.Server(configured(app, settings)).run(sockets)
    finally:
        root.removeHandler(records)
        log.flush()


def configured(app: FastAPI, settings: ServiceSettings) -> uvicorn.Config:
    """Return how `app` is served.

    Trust: each setting that uvicorn would read from its own environment variables is given here.
    """
    limits = Limits(settings.read_timeout, settings.connections)
    connection: Any = partial(Connection, limits)
    stop_timeout: Any = settings.stop_timeout  # seconds; uvicorn waits for parts of one as well
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=connection,
        ws="none",
        lifespan="on",
        workers=1,
        reload=False,
        proxy_headers=False,
        forwarded_allow_ips="",
        server_header=False,
        root_path="",
        backlog=2048,
        limit_concurrency=None,
        limit_max_requests=None,
        timeout_keep_alive=KEEPALIVE,
        timeout_graceful_shutdown=stop_timeout,
        access_log=False,
        log_config=None,
        log_level="warning",
    )
