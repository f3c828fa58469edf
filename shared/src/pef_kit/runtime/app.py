"""The application factory: one FastAPI application per side, with its routes, their rules, and its lifespan.

A service gives its calls and what it does beside them; everything that any two services would do alike over
HTTP is in this package. Handlers are async throughout: with a thread per call, calls dead-lock as soon as
they nest.
"""

import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

from anyio import create_task_group
from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.routing import Route

from pef_kit.core.effects import Operation, RunEffect
from pef_kit.core.fence import Fence, Refuse
from pef_kit.core.lease import leased
from pef_kit.core.life import Ended
from pef_kit.runtime import document, edge, openapi
from pef_kit.runtime.auth import SCHEMES, Authenticator, Problem
from pef_kit.runtime.calls import BROKEN, CallEndpoint, Handle, as_response, refusal, unknown_call
from pef_kit.runtime.clients import ANSWER_WITHIN, Clients, NothingDone
from pef_kit.runtime.edge import READ_TIMEOUT, SMALL, Edge, Rule, Rules
from pef_kit.runtime.runner import OperationRunner, Precondition, begun_if
from pef_kit.runtime.trace import Observer
from pef_protocol.calls import Call
from pef_protocol.events import Side
from pef_protocol.http import HYPERCALL_PATH, JSON, ULTRACALL_PATH, Caller, Role
from pef_protocol.problems import ProblemType

T = TypeVar("T")
PATHS: Final[Mapping[Side, str]] = {Side.ULTRAVISOR: ULTRACALL_PATH, Side.HYPERVISOR: HYPERCALL_PATH}


def json_response(content: object, status: int = 200, *, nothing_done: bool = False) -> Response:
    """Return `content` as JSON; `nothing_done`: so that a repeat of the request acts."""
    kind = NothingDone if nothing_done else Response
    return kind(json.dumps(content), status, media_type=JSON)


class Service:
    """One side as an HTTP application.

    `handle` gives the operation that answers a call; `perform` performs its effects. `answer_within` and
    `read_timeout` are in seconds.
    """

    def __init__(
        self,
        side: Side,
        calls: Iterable[Call],
        handle: Handle,
        *,
        authenticator: Authenticator,
        perform: RunEffect,
        observer: Observer,
        fence: Fence,
        answer_within: float = ANSWER_WITHIN,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self.side = side
        self.fence = fence
        self.peer_role = Role.HYPERVISOR if side is Side.ULTRAVISOR else Role.ULTRAVISOR
        self.authenticator = authenticator
        self.observer = observer
        self.runner = OperationRunner(perform)
        self.not_ready: Callable[[], str] = lambda: "no epoch has begun"
        """Says why there is no epoch."""
        self.fits = True
        """This side fits its peer: before, nothing that needs the peer is admitted, nor any call of it."""
        self._starters: list[Callable[[], Any]] = []
        self._closers: list[Callable[[], Any]] = []
        self.clients = Clients(
            within=answer_within, clock=time.monotonic, new_id=lambda: secrets.token_hex(16)
        )
        self.at_end(self.clients.close)
        self._rules = Rules()
        calls = tuple(calls)
        self.app = self._new_app(calls)
        self.app.add_middleware(
            Edge,
            rules=self._rules,
            authenticator=authenticator,
            admission=self,
            log=observer.log,
            seconds=read_timeout,
        )
        for call in calls:
            rule = Rule(edge.ALL, edge.limit_of(call), needs_epoch=True, between=True)
            self._add_plain(PATHS[side] + call.name, CallEndpoint(self, call, handle).__call__, rule)
        rule = Rule(edge.ALL, edge.at_most(SMALL))
        self._add_plain(PATHS[side] + "{name}", unknown_call(side), rule)

    def _new_app(self, calls: tuple[Call, ...]) -> FastAPI:
        app = FastAPIOffline(
            redoc_url=None,
            title=f"PEF {self.side}",
            description=openapi.DESCRIPTION,
            openapi_tags=openapi.TAGS,
            lifespan=self._lifespan,
            strict_content_type=False,
            telemetry={"auto_configure": False},  # FastAPI would read variables of its own
            swagger_ui_parameters={"persistAuthorization": True},
        )
        app.add_exception_handler(HTTPException, _problem)
        app.add_exception_handler(RequestValidationError, _malformed)
        app.add_exception_handler(Ended, _ended)
        app.add_exception_handler(Exception, _failed)
        app.state.service = self
        app.openapi = partial(document.document, app, self.side, calls)  # type: ignore[method-assign]
        return app

    def at_end(self, close: Callable[[], Any]) -> None:
        """Have `close` (async) called when the service stops."""
        self._closers.append(close)

    def at_start(self, begin: Callable[[], Any]) -> None:
        """Have `begin` (async) called when the service starts."""
        self._starters.append(begin)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        # The first task group of a process loads anyio's backend, which takes longer than a request may.
        async with create_task_group():
            pass
        for begin in self._starters:
            await begin()
        yield
        for close in reversed(self._closers):
            await close()

    def _add_plain(self, path: str, endpoint: Callable[[Request], Any], rule: Rule) -> None:
        self._rules.add("POST", path, rule)
        self.app.router.routes.append(Route(path, endpoint, methods=["POST"]))

    def add(
        self,
        method: str,
        path: str,
        handler: Callable[..., Any],
        *roles: Role,
        tag: str,
        answer: Any = None,
        limit: int | None = SMALL,
        needs_epoch: bool = False,
        between: bool = False,
        problems: Iterable[int] = (),
        **describes: Any,
    ) -> None:
        """Add a route for `roles` (none: for all, without a token) whose body may have `limit` bytes.

        `answer` is the type of what it answers with JSON, or None. `needs_epoch` and `between` are those of
        `Rule`; `problems` the statuses that it may refuse with, beside those that follow from its rule.
        """
        rule = Rule(frozenset(roles), edge.at_most(limit), needs_epoch, between)
        self._rules.add(method, path, rule)
        self.app.add_api_route(
            path,
            handler,
            methods=[method],
            tags=[tag],
            response_model=answer,
            response_class=Response if answer is None else openapi.Json,
            dependencies=[Security(SCHEMES[role]) for role in roles],
            responses=openapi.responses(rule, describes.pop("responses", {}), problems),
            **describes,
        )

    def require_epoch(self) -> None:
        """Raise Problem 503 where there is no epoch: nothing that needs the peer is admitted."""
        if self.fence.epoch is None or not self.fits:
            raise Problem(503, self.not_ready(), kind=ProblemType.NOT_NOW)

    async def run(self, operation: Operation[T], check: Precondition | None = None) -> T:
        """Drive an operation of the current epoch to its end, if `check` passes at its first step."""
        self.require_epoch()
        return await self.run_first(begun_if(check, operation))

    async def run_first(self, operation: Operation[T]) -> T:
        """Drive an operation of the current epoch by which this side comes to fit its peer."""
        return await self.runner.run(leased(operation, self.fence.life))

    async def run_alone(self, operation: Operation[T], check: Precondition | None = None) -> T:
        """Drive an operation that needs no peer, and so no epoch, to its end."""
        return await self.runner.run(begun_if(check, operation))

    async def as_guest(
        self,
        request: Request,
        caller: Caller,
        work: Callable[[Precondition], Awaitable[Response]],
        *,
        reads: bool = False,
    ) -> Response:
        """Answer a guest's request by `work`, which runs its operation under the check that it is given."""

        def current() -> None:
            self.authenticator.require_current(caller)

        current()
        return await self.clients.act(request, caller, current, lambda: work(current), reads=reads)


async def _problem(request: Request, refused: Exception) -> Response:
    if isinstance(refused, Problem):
        return refused.response()
    if not isinstance(refused, HTTPException):
        return await _failed(request, refused)
    return Problem(refused.status_code, str(refused.detail), headers=refused.headers).response()


async def _malformed(request: Request, refused: Exception) -> Response:
    """Answer with the first field that is not what its type says; the value of it is not repeated."""
    if not isinstance(refused, RequestValidationError):
        return await _failed(request, refused)
    first = refused.errors()[0]
    where = [str(step) for step in first["loc"][1:]]
    field = "body" if first["type"] == "json_invalid" or not where else ".".join(where)
    return Problem(422, f"{field}: {first['msg']}", field).response()


async def _ended(_: Request, ended: Exception) -> Response:
    return as_response(refusal(Refuse(409, ProblemType.OTHER_EPOCH, str(ended))))


async def _failed(_: Request, __: Exception) -> Response:
    return as_response(BROKEN)
