"""Run a service's application until it is told to stop."""

import gc
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import uvicorn
from fastapi import FastAPI

from pef_kit.connections import Connection, Limits
from pef_kit.settings import ServiceSettings
from pef_kit.volume import VolumeTaken

S = TypeVar("S", bound=ServiceSettings)

KEEPALIVE: Final = 150
"""Seconds that an idle connection is kept: longer than any peer keeps its end."""

SWITCH: Final = 0.0002
"""Seconds after which a thread that moves pages makes way for the event loop."""

CANNOT_START: Final = 2
"""Exit status of a service that may not start; nothing was changed."""


def build_and_serve(build: Callable[[S], FastAPI], settings: S) -> None:
    """Build the service and serve it; end with one line and status 2 where another process is this side."""
    try:
        app = build(settings)
    except VolumeTaken as taken:
        sys.stderr.write(f"{taken}\n")
        sys.exit(CANNOT_START)
    serve(app, settings)


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve `app` where the settings say; requests are not logged, since traces say more.

    What was made by now lives as long as the process, so the collector need not look at it again.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH)
    uvicorn.Server(configured(app, settings)).run()


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
        log_level="warning",
    )
