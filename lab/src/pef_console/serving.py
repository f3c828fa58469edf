"""Serve the console: its sockets, the URL that it prints, and how it ends."""

import asyncio
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from pef_console.app import build_app
from pef_console.live.opening import OWN_PAIRS, LiveSettings
from pef_console.routes.needs import Console
from pef_console.security import Entrance, Right
from pef_console.sessions import DEFAULT, Sessions
from pef_console.stages import Stages
from pef_kit.runtime.serve import Connection, Limits
from pef_lab.failures import OperatorFault, WrongInput
from pef_lab.ports import LOOPBACK
from pef_lab.tables import console_for
from pef_lab.version import version_line

HEAD_SECONDS: Final = 60.0
"""A browser opens connections before it has a request for them, and keeps them idle."""
CONNECTIONS: Final = 256
BACKLOG: Final = 128
SECRET_OCTETS: Final = 32
ID_OCTETS: Final = 9
STOP_SECONDS: Final = 1
"""Seconds after the last event of each stream until what is open yet is cut."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `pef console` was asked for. `published`: HOST:PORT by which browsers reach it."""

    port: int = 0
    bind: str | None = None
    published: str | None = None
    read_only: bool = False
    opened: Path | None = None
    files: Path | None = None
    live: LiveSettings = OWN_PAIRS


class Server(uvicorn.Server):
    """uvicorn's server, which ends when its task is cancelled and says `bye` to all followers before."""

    def __init__(self, config: uvicorn.Config, console: Console) -> None:
        super().__init__(config)
        self._console = console

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command: it cancels what runs."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams, so that no connection waits for them; then stop."""
        self._console.sessions.say_bye("the console has ended")
        await super().shutdown(sockets)

    async def serve_until_cancelled(self, sockets: list[socket.socket]) -> None:
        """Serve; when cancelled, stop in order first."""
        serving = asyncio.ensure_future(self.serve(sockets))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self.should_exit = True
            await serving
            raise


async def serve(wanted: Wanted) -> None:
    """Serve the console until cancelled; raise WrongInput or OperatorFault where it can't begin."""
    with listening(wanted.bind or LOOPBACK, wanted.port) as place:
        hosts = hosts_of(place, wanted.published)
        stages = Stages(DEFAULT.moves, wanted.files, wanted.live)
        rights = (Right.MOVE, Right.WATCH) if wanted.read_only else (Right.MOVE,)
        keys = {right: secrets.token_urlsafe(SECRET_OCTETS) for right in rights}
        console = Console(
            Entrance(keys, int(hosts[0].rpartition(":")[2])),
            Sessions(DEFAULT, partial(secrets.token_urlsafe, ID_OCTETS), time.monotonic),
            stages.openers(),
            stages.catalogue(),
            version_line(),
        )
        try:
            shown = await _opened(console, stages, wanted.opened)
            app = build_app(console, frozenset(hosts))
            _print_urls(f"http://{hosts[0]}/", keys, shown)
            await Server(configured(app), console).serve_until_cancelled([place])
        finally:
            stages.close()


async def _opened(console: Console, stages: Stages, path: Path | None) -> str:
    """Open a file in a session; return what the fragment of a URL says of it."""
    if path is None:
        return ""
    session = await console.sessions.open(lambda _: stages.open_path(path))
    return f"&s={session.id}"


def _print_urls(url: str, keys: Mapping[Right, str], shown: str) -> None:
    printed = console_for()
    lines = [f"console      {url}#secret={keys[Right.MOVE]}{shown}"]
    if Right.WATCH in keys:
        lines.append(f"to watch     {url}#secret={keys[Right.WATCH]}{shown}")
    for line in (*lines, "", "Ctrl-C ends it, and all sessions with it."):
        printed.print(line, markup=False, highlight=False, soft_wrap=True)
    printed.file.flush()


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Give a socket that listens at one address; raise OperatorFault where it can't be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named: only of such a socket asyncio sends each answer at once (TCP_NODELAY).
    place = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((host, port))
            place.listen(BACKLOG)  # who has read the URL may come before all is ready
        except OSError as failed:
            reason = (failed.strerror or type(failed).__name__).lower()
            raise OperatorFault(
                f"can't listen at {host} port {port}: {reason}; set --port or --bind"
            ) from None
        yield place


def hosts_of(place: socket.socket, published: str | None) -> list[str]:
    """Return the values of Host that are answered; the first is the one of the printed URL."""
    address, port = place.getsockname()[:2]
    own = [f"{address}:{port}", f"localhost:{port}"]
    if published is None:
        return own
    host, colon, published_port = published.rpartition(":")
    if not (host and colon and published_port.isdecimal()):
        raise WrongInput(f"--published: HOST:PORT is needed, not {published!r}")
    return [published.lower(), f"localhost:{published_port}", *own]


def configured(app: FastAPI) -> uvicorn.Config:
    """Return how the console is served.

    Trust: each setting that uvicorn would read from its own environment variables is given here.
    """
    connection: Any = partial(Connection, Limits(HEAD_SECONDS, CONNECTIONS))
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=connection,
        ws="none",
        lifespan="on",
        workers=1,
        reload=False,
        proxy_headers=False,
        forwarded_allow_ips="",
        server_header=False,
        root_path="",
        backlog=BACKLOG,
        limit_concurrency=None,
        limit_max_requests=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_SECONDS,
        access_log=False,
        log_config=None,
        log_level="warning",
    )
