"""The application factory: routes from the call table, roles, errors, health, metrics, observer views.

A service gives its calls and what it does beside them; everything that any two services would do alike over
HTTP is here. Handlers are async throughout: a thread a call dead-locks as soon as calls nest.
"""

import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any, Final, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from pef_kit import decoding
from pef_kit.doors import Doorkeeper, Handler, Problem, number, read_body
from pef_kit.observers import CURRENT, CallContext, Observer
from pef_kit.operations import Operation, Perform, drive
from pef_protocol.calls import Call, Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import CallEvent, Side
from pef_protocol.runs import Runs
from pef_protocol.wire import (
    CALL_ID,
    DEPTH,
    HYPERCALL_PATH,
    JSON,
    MAX_DEPTH,
    OBSERVER_PATH,
    OCTETS,
    PARENT_ID,
    TRACEPARENT,
    ULTRACALL_PATH,
    Caller,
    Role,
)

T = TypeVar("T")
Answer = Callable[[Caller, str, Any], Operation[Reply]]
ROWS_SHOWN: Final = 8
"""Runs of a call that its event names; the rest is counted."""
CALL_ID_FORM: Final = re.compile("[!-~]{1,64}")
TRACEPARENT_FORM: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def json_response(content: object, status: int = 200) -> Response:
    """Return `content` as JSON."""
    return Response(json.dumps(content), status, media_type=JSON)


def envelope(name: str, reply: Reply) -> dict[str, Any]:
    """Return a reply as it travels."""
    return {
        "call": name,
        "code": {"name": reply.code.name, "number": int(reply.code)},
        "outputs": dict(reply.outputs),
        "refused": list(reply.refused.coded()),
        "detail": reply.detail,
    }


def told(request: Any) -> tuple[dict[str, int | str], int]:
    """Return what an event says of a request's arguments, and the pages it carries."""
    arguments: dict[str, int | str] = {}
    pages = 0
    for argument in fields(request):
        value = getattr(request, argument.name)
        if isinstance(value, Runs):
            rows = list(value)[:ROWS_SHOWN] if len(value) <= ROWS_SHOWN else []
            shown = " ".join("+".join(f"{word:#x}" for word in row) for row in rows)
            arguments[argument.name] = shown or f"{len(value)} runs"
            pages = value.pages
        else:
            arguments[argument.name] = value
    return arguments, pages


class Service:
    """One side as an HTTP application."""

    def __init__(
        self,
        side: Side,
        calls: Iterable[Call],
        answer: Answer,
        *,
        doorkeeper: Doorkeeper,
        perform: Perform,
        observer: Observer,
        body_limit: int,
    ) -> None:
        self.side = side
        self.doorkeeper = doorkeeper
        self.observer = observer
        self._perform = perform
        self._answer = answer
        self._body_limit = body_limit
        self._closers: list[Callable[[], Any]] = []
        self.app = FastAPI(title=f"PEF {side}", lifespan=self._lifespan, redoc_url=None)
        self.app.add_exception_handler(Problem, _problem)
        self.app.add_exception_handler(HTTPException, _refused)
        self.app.add_exception_handler(Exception, _failed)
        for call in calls:
            self._add_call(call)
        path = ULTRACALL_PATH if side is Side.ULTRAVISOR else HYPERCALL_PATH
        self.post(path + "{name}", self._unknown_call)
        self._add_views()

    def at_end(self, close: Callable[[], Any]) -> None:
        """Have `close` (async) called when the service stops."""
        self._closers.append(close)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        yield
        for close in reversed(self._closers):
            await close()

    def post(self, path: str, handler: Handler, **describes: Any) -> None:
        """Add a route for POST."""
        self.app.add_api_route(path, handler, methods=["POST"], response_model=None, **describes)

    def get(self, path: str, handler: Handler) -> None:
        """Add a route for GET."""
        self.app.add_api_route(path, handler, methods=["GET"], response_model=None)

    async def run(self, operation: Operation[T]) -> T:
        """Drive an operation to its end."""
        return await drive(operation, self._perform)

    async def body(self, request: Request, limit: int | None = None) -> bytes:
        """Return the body of a request; raise Problem 413 where it is over the limit."""
        return await read_body(request, self._body_limit if limit is None else limit)

    def _add_call(self, call: Call) -> None:
        async def handler(request: Request) -> Response:
            return await self._answer_call(call, request)

        path = ULTRACALL_PATH if call.is_ultracall else HYPERCALL_PATH
        schema = decoding.MODELS[call.name].model_json_schema()
        self.post(
            path + call.name,
            handler,
            name=call.name,
            summary=f"{call.name} ({call.number:#06x})",
            description=f"{(call.request.__doc__ or '').strip()} Source: {call.source}.",
            openapi_extra={"requestBody": {"content": {JSON: {"schema": schema}}, "required": True}},
        )

    async def _answer_call(self, call: Call, request: Request) -> Response:
        caller = self.doorkeeper.caller(request)
        body = await self.body(request)
        try:
            if request.headers.get("content-type", JSON).startswith(OCTETS):
                asked = decoding.from_octets(call, request.query_params, body)
            else:
                asked = decoding.from_json(call, body)
        except decoding.Malformed as fault:
            raise Problem(422, "Unprocessable Content", str(fault), fault.field) from None
        arguments, pages = told(asked)
        with _Recorded(self, request, caller, call.name) as recorded:
            recorded.arguments, recorded.pages = arguments, pages
            reply = await self.run(self._answer(caller, call.name, asked))
            recorded.code, recorded.detail = reply.code.name, reply.detail
        return json_response(envelope(call.name, reply))

    async def _unknown_call(self, request: Request) -> Response:
        self.doorkeeper.caller(request)
        await self.body(request)
        name = request.path_params["name"]
        code = UCode.U_FUNCTION if self.side is Side.ULTRAVISOR else HCode.H_FUNCTION
        return json_response(envelope(name, Reply(code, detail=f"{name} is not a call of this side")))

    def _add_views(self) -> None:
        async def live(_: Request) -> Response:
            return json_response({"live": True})

        async def metrics(request: Request) -> Response:
            self.doorkeeper.admit(request, Role.OBSERVER)
            return Response(self.observer.exposition(), media_type="text/plain; version=0.0.4")

        async def trace(request: Request) -> Response:
            self.doorkeeper.admit(request, Role.OBSERVER)
            return json_response(self.observer.since(number(request, "after")))

        self.get("/livez", live)
        self.get("/readyz", live)
        self.get("/metrics", metrics)
        self.get(OBSERVER_PATH + "trace", trace)

    def view(self, path: str, look: Callable[[Request], object]) -> None:
        """Add a read-only view for the observer: `look` returns what is shown as JSON."""

        async def handler(request: Request) -> Response:
            self.doorkeeper.admit(request, Role.OBSERVER)
            return json_response(look(request))

        self.get(OBSERVER_PATH + path, handler)


def _well_formed(request: Request, header: str, form: re.Pattern[str]) -> str:
    text = request.headers.get(header, "")
    return text if form.fullmatch(text) else ""


class _Recorded:
    """Puts one call into the trace, and its context before whatever it nests."""

    def __init__(self, service: Service, request: Request, caller: Caller, name: str) -> None:
        self._observer = service.observer
        depth = request.headers.get(DEPTH, "0")
        self._depth = int(depth) if depth.isdecimal() and len(depth) < 3 else MAX_DEPTH  # noqa: PLR2004
        # Trust: ids travel on with nested calls; one that HTTP can't carry would make those calls fail.
        self._call_id = _well_formed(request, CALL_ID, CALL_ID_FORM) or secrets.token_hex(8)
        self._parent_id = _well_formed(request, PARENT_ID, CALL_ID_FORM)
        self._traceparent = _well_formed(request, TRACEPARENT, TRACEPARENT_FORM)
        guest = f" {caller.lpid}" if caller.role is Role.GUEST else ""
        self._caller = f"{caller.role}{guest}"
        self._name = name
        self.arguments: dict[str, int | str] = {}
        self.pages = 0
        self.code = "failed"
        self.detail = ""

    def __enter__(self) -> "_Recorded":
        self._began = next(self._observer.clock)
        self._start = time.perf_counter()
        self._token = CURRENT.set(CallContext(self._call_id, self._depth, self._traceparent))
        return self

    def __exit__(self, *_: object) -> None:
        CURRENT.reset(self._token)
        self._observer.record(
            CallEvent(
                side=self._observer.side,
                call_id=self._call_id,
                parent_id=self._parent_id,
                caller=self._caller,
                name=self._name,
                arguments=self.arguments,
                code=self.code,
                pages=self.pages,
                depth=self._depth,
                began=self._began,
                ended=next(self._observer.clock),
                seconds=time.perf_counter() - self._start,
                detail=self.detail,
            )
        )


async def _problem(request: Request, problem: Exception) -> Response:
    return problem.response() if isinstance(problem, Problem) else await _failed(request, problem)


async def _refused(request: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, HTTPException):
        return await _failed(request, refusal)
    response = Problem(refusal.status_code, str(refusal.detail), str(refusal.detail)).response()
    response.headers.update(refusal.headers or {})
    return response


async def _failed(_: Request, __: Exception) -> Response:
    return Problem(500, "Internal Server Error", "a fault of this service; its log says more").response()
