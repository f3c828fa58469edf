"""The application: routes, what is answered where something is wrong, and the page."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from pef_console.routes import commands, entering, events, inquiries, library, sessions
from pef_console.routes.needs import Console
from pef_console.security import Guard
from pef_console.sessions import UnknownSession
from pef_console.stage import NotPossible
from pef_lab.failures import WrongInput

PAGE: Final = Path(__file__).parent / "page"
PREFIX: Final = "/api/v1"
IDLE_CHECK: Final = 30.0
"""Seconds between two looks for idle sessions."""
REVALIDATE: Final = {"cache-control": "no-cache"}


class PageFiles(StaticFiles):
    """The files of the page: a browser asks each time whether they have changed."""

    def file_response(self, *given: object, **named: object) -> Response:
        """Return a file, or 304."""
        response: Response = super().file_response(*given, **named)  # type: ignore[arg-type]
        response.headers.update(REVALIDATE)
        return response


def build_app(console: Console, hosts: frozenset[str]) -> FastAPI:
    """Return the application; `hosts` are the values of Host that it answers."""
    app = FastAPI(
        title="PEF console",
        lifespan=_until_shutdown,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={
            RequestValidationError: _invalid,
            WrongInput: _unreadable,
            UnknownSession: _unknown,
            NotPossible: _not_possible,
        },
    )
    app.state.console = console
    api = APIRouter(prefix=PREFIX)
    for module in (entering, sessions, commands, events, inquiries, library):
        api.include_router(module.router)
    app.include_router(api)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/static", PageFiles(directory=PAGE), name="static")
    app.add_middleware(Guard, hosts=hosts)
    return app


async def _page() -> FileResponse:
    return FileResponse(PAGE / "index.html", headers=REVALIDATE)


@asynccontextmanager
async def _until_shutdown(app: FastAPI) -> AsyncIterator[None]:
    """End idle sessions while the console runs, and all sessions at its end."""
    console: Console = app.state.console
    ending = asyncio.create_task(_end_idle(console))
    try:
        yield
    finally:
        ending.cancel()
        await console.sessions.end_all("the console has ended")


async def _end_idle(console: Console) -> None:
    while True:
        await asyncio.sleep(IDLE_CHECK)
        await console.sessions.end_idle()


async def _invalid(_: Request, fault: Exception) -> Response:
    """Say in one line what is wrong with a request."""
    assert isinstance(fault, RequestValidationError)  # noqa: S101 - registered for this class alone
    first = fault.errors()[0]
    where = ".".join(str(step) for step in first["loc"][1:])
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    return JSONResponse({"detail": f"{where}: {message}" if where else message}, 422)


async def _unreadable(_: Request, fault: Exception) -> Response:
    return JSONResponse({"detail": str(fault)}, 422)


async def _unknown(_: Request, fault: Exception) -> Response:
    return JSONResponse({"detail": str(fault)}, 404)


async def _not_possible(request: Request, fault: Exception) -> Response:
    """Say why not, with the frame of the session that the path names."""
    content: dict[str, object] = {"detail": str(fault)}
    session_id = request.path_params.get("session_id")
    if session_id is not None:
        console: Console = request.app.state.console
        content["frame"] = json.loads(console.sessions.find(session_id).frame.text)
    return JSONResponse(content, 409)
