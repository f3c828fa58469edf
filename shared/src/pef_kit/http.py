"""The application factory: routes from the call table, roles, errors, health, metrics, observer views.

A service gives its calls and what it does beside them; everything that any two services would do alike over
HTTP is here. Handlers are async throughout: a thread a call dead-locks as soon as calls nest.
"""

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from http import HTTPStatus
from typing import Any, Final, TypeVar

from anyio import create_task_group
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from pef_kit import bodies, decoding
from pef_kit.answers import encode_reply
from pef_kit.clients import ANSWER_WITHIN, Check, Clients, NothingDone, begun_if
from pef_kit.core.fence import Answer, Fence, Join, KeptAnswer, Message, Refuse, Run
from pef_kit.core.lease import leased
from pef_kit.core.life import Ended, Life, OtherIncarnation
from pef_kit.doors import Doorkeeper, Handler, Problem, number, path_number
from pef_kit.observers import CURRENT, CallContext, Observer
from pef_kit.operations import Effect, Operation, Perform, Work, drive
from pef_kit.spans import pages_in
from pef_protocol.calls import Call, Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import CallEvent, Side
from pef_protocol.identity import CallId, Epoch, Incarnation
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import Lpid
from pef_protocol.runs import WORD_BYTES, CodedRuns, Runs
from pef_protocol.wire import (
    CALL_ID,
    DEPTH,
    EPOCH,
    FINGERPRINT,
    GUESTS_PATH,
    HYPERCALL_PATH,
    INCARNATION,
    JSON,
    MAX_DEPTH,
    OBSERVER_PATH,
    OCTETS,
    OPERATIONS_PATH,
    PAGES_AT_ONCE,
    PARENT_ID,
    PROBLEM,
    RUNS_IN_JSON,
    SLOT,
    TIME_LEFT,
    TRACEPARENT,
    ULTRACALL_PATH,
    Caller,
    Role,
)

T = TypeVar("T")
Handle = Callable[[Caller, str, Any], Operation[Reply]]
BUSY: Final = frozenset({UCode.U_BUSY, HCode.H_BUSY})
"""Answers after which nothing was done, and trying again may help."""
ROWS_SHOWN: Final = 8
"""Runs of a call that its event names; the rest is counted."""
LONGEST_ENVELOPE: Final = 8 << 10
"""Bytes that an answer may have beside its refused runs."""
REFUSED_ROW: Final = 64
"""Bytes of one refused run as JSON, at most."""
REFUSED_WORDS: Final = CodedRuns.WIDTH * WORD_BYTES
"""Bytes of one among many refused runs."""
LOOKS: Final = 8
"""How often a view that is to be of one moment is tried."""
LONGEST_TIME: Final = 3_600_000
TIME_DIGITS: Final = 10
VISORS: Final = frozenset({Role.ULTRAVISOR, Role.HYPERVISOR})
CALL_ID_FORM: Final = re.compile("[!-~]{1,64}")
TRACEPARENT_FORM: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def json_response(content: object, status: int = 200, *, nothing_done: bool = False) -> Response:
    """Return `content` as JSON; `nothing_done`: so that a repeat of the request acts."""
    kind = NothingDone if nothing_done else Response
    return kind(json.dumps(content), status, media_type=JSON)


def reply_response(name: str, reply: Reply, *, nothing_done: bool = False) -> Response:
    """Return the answer to call `name` as a response; `nothing_done`: so that a repeat acts."""
    body, media = encode_reply(name, reply)
    kind = NothingDone if nothing_done else Response
    return kind(body, media_type=media)


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
            pages = pages_in(value)
        else:
            arguments[argument.name] = value
    return arguments, pages


class Service:
    """One side as an HTTP application."""

    def __init__(
        self,
        side: Side,
        calls: Iterable[Call],
        answer: Handle,
        *,
        doorkeeper: Doorkeeper,
        perform: Perform,
        observer: Observer,
        fence: Fence,
        answer_within: float = ANSWER_WITHIN,
        read_timeout: float = bodies.READ_TIMEOUT,
    ) -> None:
        self.side = side
        self.fence = fence
        self._peer_role = Role.HYPERVISOR if side is Side.ULTRAVISOR else Role.ULTRAVISOR
        self.doorkeeper = doorkeeper
        self.observer = observer
        self._perform = perform
        self._answer = answer
        self._read_timeout = read_timeout
        self.not_ready: Callable[[], str] = lambda: "no epoch has begun"
        """Says why there is no epoch."""
        self.fits = True
        """This side fits its peer: before, nothing that needs the peer is admitted, nor any call of it."""
        self._steps = 0
        """Steps that operations have made: as long as it is the same, nothing has changed."""
        self._looking = asyncio.Lock()
        self._starters: list[Callable[[], Any]] = []
        self._closers: list[Callable[[], Any]] = []
        self.clients = Clients(
            within=answer_within, clock=time.monotonic, new_id=lambda: secrets.token_hex(16)
        )
        self.at_end(self.clients.close)
        self.app = FastAPI(title=f"PEF {side}", lifespan=self._lifespan, redoc_url=None)
        self.app.add_exception_handler(Problem, _problem)
        self.app.add_exception_handler(HTTPException, _refused)
        self.app.add_exception_handler(Ended, _ended)
        self.app.add_exception_handler(Exception, _failed)
        self.app.add_middleware(bodies.RefuseUpgrades)
        for call in calls:
            self._add_call(call)
        path = ULTRACALL_PATH if side is Side.ULTRAVISOR else HYPERCALL_PATH
        self.post(path + "{name}", self._unknown_call)
        self._add_views()

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

    def post(self, path: str, handler: Handler, *, reads: bool = True, **describes: Any) -> None:
        """Add a route for POST; `reads`: the handler reads its body, by `body` or `pieces`."""
        handler = handler if reads else self._without_body(handler)
        self.app.add_api_route(path, handler, methods=["POST"], response_model=None, **describes)

    def delete(self, path: str, handler: Handler) -> None:
        """Add a route for DELETE, which reads no body."""
        bounded = self._without_body(handler)
        self.app.add_api_route(path, bounded, methods=["DELETE"], response_model=None)

    def get(self, path: str, handler: Handler, *, open_to_all: bool = False) -> None:
        """Add a route for GET, which reads no body; `open_to_all`: it asks for no token."""
        bounded = self._without_body(handler, open_to_all=open_to_all)
        self.app.add_api_route(path, bounded, methods=["GET"], response_model=None)

    def _without_body(self, handler: Handler, *, open_to_all: bool = False) -> Handler:
        """Return `handler` for requests that should have no body: one that comes is bounded all the same."""

        async def bounded(request: Request) -> Response:
            if bodies.announced_length(request) != 0:
                if not open_to_all:
                    self.doorkeeper.caller(request)
                await self.body(request)
            return await handler(request)

        return bounded

    def require_epoch(self) -> None:
        """Raise Problem 503 where there is no epoch: nothing that needs the peer is admitted."""
        if self.fence.epoch is None or not self.fits:
            raise Problem(503, "Service Unavailable", self.not_ready(), kind=ProblemType.NOT_NOW)

    def _require_fit(self) -> None:
        if not self.fits:
            self.require_epoch()

    async def run(self, operation: Operation[T], check: Check | None = None) -> T:
        """Drive an operation of the current epoch to its end, if `check` passes at its first step."""
        self.require_epoch()
        return await self.run_first(begun_if(check, operation))

    async def run_first(self, operation: Operation[T]) -> T:
        """Drive an operation of the current epoch by which this side comes to fit its peer."""
        return await self._drive(leased(operation, self.fence.life))

    async def run_alone(self, operation: Operation[T], check: Check | None = None) -> T:
        """Drive an operation that needs no peer, and so no epoch, to its end."""
        return await self._drive(begun_if(check, operation))

    async def _drive(self, operation: Operation[T]) -> T:
        """Drive an operation to its end, and count its steps."""

        async def performed(effect: Effect) -> Any:
            try:
                return await self._perform(effect)
            finally:
                self._steps += 1

        self._steps += 1
        return await drive(operation, performed)

    async def as_guest(
        self,
        request: Request,
        caller: Caller,
        body: bytes,
        work: Callable[[Check], Awaitable[Response]],
        *,
        looks: bool = False,
    ) -> Response:
        """Answer a guest's request by `work`, which runs its operation under the check that it is given."""

        def current() -> None:
            self.doorkeeper.require_current(caller)

        current()
        return await self.clients.act(request, caller, body, current, lambda: work(current), looks=looks)

    async def body(self, request: Request, limit: int = bodies.SMALL) -> bytes:
        """Return the body of a request, of at most `limit` bytes; raise Problem as `bodies` says."""
        return await bodies.read_body(request, limit, self._read_timeout)

    def pieces(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body of a request as it comes, however long it is."""
        return bodies.pieces_of(request, None, self._read_timeout)

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
        octets = request.headers.get("content-type", JSON).startswith(OCTETS)
        body = await self.body(request, bodies.limit_of(call, caller, octets=octets))
        if not body and caller.role is self._peer_role and (known := self._known(request)) is not None:
            return as_response(await kept_answer(known))
        try:
            if octets:
                asked = decoding.from_octets(call, request.query_params, body)
            else:
                asked = decoding.from_json(call, body)
            decoding.require_few_pages(asked)
        except decoding.Malformed as fault:
            raise Problem(422, "Unprocessable Content", str(fault), fault.field) from None
        except decoding.TooManyPages as fault:
            raise Problem(413, "Content Too Large", str(fault), "runs") from None
        seconds = time_left(request) if caller.role in VISORS else None

        async def answered(check: Check | None = None) -> Response:
            self.require_epoch()
            life = self.fence.life
            reply = await self._perform_call(call, request, caller, asked, life, seconds, check)
            return reply_response(call.name, reply, nothing_done=reply.code in BUSY)

        if caller.role is Role.GUEST:
            return await self.as_guest(request, caller, body, answered)
        if caller.role is not self._peer_role:
            return await answered()
        self._require_fit()
        # Order: from here to the verdict nothing is awaited: a message is judged as it arrived whole.
        caller = replace(caller, incarnation=Incarnation.parse(request.headers.get(INCARNATION, "")))
        verdict = self.fence.receive(message_of(request, asked))
        if not isinstance(verdict, Run):
            return as_response(await kept_answer(verdict))
        answer = BROKEN
        try:
            reply = await self._perform_call(call, request, caller, asked, verdict.life, seconds)
            content, media = encode_reply(call.name, reply)
            answer = KeptAnswer(200, media, content)
        except OtherIncarnation as reason:
            answer = refusal(Refuse(409, ProblemType.OTHER_INCARNATION, str(reason)))
        except Ended as reason:
            answer = refusal(Refuse(409, ProblemType.OTHER_EPOCH, str(reason)))
        finally:
            self.fence.answered(verdict, answer)
            if verdict.kept.task is not None:
                verdict.kept.task.set_result(answer)
        return as_response(answer)

    async def _perform_call(
        self,
        call: Call,
        request: Request,
        caller: Caller,
        asked: Any,
        life: Life,
        seconds: float | None,
        check: Check | None = None,
    ) -> Reply:
        """Do what a call asks for, for as long as its epoch lasts, and put it into the trace."""
        with _Recorded(self, request, caller, call.name, seconds) as recorded:
            recorded.arguments, recorded.pages = told(asked)
            operation = begun_if(check, self._answer(caller, call.name, asked))
            reply = await self._drive(leased(operation, life))
            recorded.code, recorded.detail = reply.code.name, reply.detail
        return reply

    def _known(self, request: Request) -> Join | Answer | Refuse | None:
        """Return the verdict on a message without a body: a repeat may come so, where the first one came."""
        if FINGERPRINT not in request.headers or SLOT not in request.headers:
            return None
        verdict = self.fence.receive(Message(*_names(request), longest=self.fence.budget + 1))
        if isinstance(verdict, Refuse) and verdict.kind is ProblemType.NOT_NOW:
            return Refuse(425, ProblemType.NOT_NOW, "this message has not come yet: send it with its body")
        return verdict if not isinstance(verdict, Run) else None

    async def _unknown_call(self, request: Request) -> Response:
        self.doorkeeper.caller(request)
        await self.body(request)
        name = request.path_params["name"]
        code = UCode.U_FUNCTION if self.side is Side.ULTRAVISOR else HCode.H_FUNCTION
        return reply_response(name, Reply(code, detail=f"{name} is not a call of this side"))

    def _add_views(self) -> None:
        async def live(_: Request) -> Response:
            return json_response({"live": True})

        async def ready(_: Request) -> Response:
            self.require_epoch()
            return json_response({"ready": True})

        async def metrics(request: Request) -> Response:
            self.doorkeeper.admit(request, Role.OBSERVER)
            return Response(self.observer.exposition(), media_type="text/plain; version=0.0.4")

        async def trace(request: Request) -> Response:
            self.doorkeeper.admit(request, Role.OBSERVER)
            return json_response(self.observer.since(number(request, "after")))

        async def incarnation(request: Request) -> Response:
            self.doorkeeper.admit(request, Role.OBSERVER, Role.VMM, Role.HYPERVISOR)
            lpid = path_number(request, "lpid")
            found = self.doorkeeper.incarnation_of(Lpid(lpid))
            if found is None:
                raise Problem(404, "Not Found", f"no VM has lpid {lpid} at the {self.side}")
            return json_response({"lpid": lpid, "incarnation": str(found)})

        async def operation(request: Request) -> Response:
            caller = self.doorkeeper.admit(request, Role.GUEST, Role.VMM)
            return await self.clients.read(request, caller)

        self.get(GUESTS_PATH + "{lpid}/incarnation", incarnation)
        self.get(OPERATIONS_PATH + "{operation}", operation)
        self.get("/livez", live, open_to_all=True)
        self.get("/readyz", ready, open_to_all=True)
        self.get("/metrics", metrics)
        self.get(OBSERVER_PATH + "trace", trace)

    def view(self, path: str, look: Callable[[Request], object]) -> None:
        """Add a read-only view for the observer: `look` returns what is shown as JSON."""

        async def handler(request: Request) -> Response:
            self.doorkeeper.admit(request, Role.OBSERVER)
            return json_response(look(request))

        self.get(OBSERVER_PATH + path, handler)

    def long_view(
        self,
        path: str,
        copy: Callable[[Request], Operation[T]],
        look: Callable[[T], object],
        *,
        whole: bool = False,
    ) -> None:
        """Add a view of whole slots: `copy` copies them part by part, `look` looks at the copy in a thread.

        A `whole` view is of one moment, or 503 where calls never left time for it; else each part of a large
        slot is of a moment of its own. One such view is made at a time: copies take memory.
        """

        async def handler(request: Request) -> Response:
            self.doorkeeper.admit(request, Role.OBSERVER)
            async with self._looking:
                for _ in range(LOOKS):
                    before = self._steps
                    seen = [await drive(copy(request), self._perform)]
                    if not whole or self._steps == before:
                        break
                else:
                    reason = "calls went on all the time: look again"
                    raise Problem(503, "Service Unavailable", reason, kind=ProblemType.NOT_NOW)
                # Order: the copy goes in the thread, too: to give so much memory back takes long.
                shown = await self._perform(Work(lambda: json.dumps(look(seen.pop()))))
            return Response(shown, media_type=JSON)

        self.get(OBSERVER_PATH + path, handler)


def time_left(request: Request) -> float | None:
    """Return how many seconds the caller still waits; None where it does not say so.

    Trust: clamped, for it is the peer that says it.
    """
    text = request.headers.get(TIME_LEFT, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise Problem(400, "Bad Request", f"{TIME_LEFT}: not a number of milliseconds", TIME_LEFT)
    return min(int(text[:TIME_DIGITS]), LONGEST_TIME) / 1000


def _well_formed(request: Request, header: str, form: re.Pattern[str]) -> str:
    text = request.headers.get(header, "")
    return text if form.fullmatch(text) else ""


def _names(request: Request) -> tuple[Epoch | None, CallId | None, bytes]:
    """Return what a message says of itself: epoch, call id and fingerprint; raise Problem where malformed."""
    epoch = Epoch.parse(request.headers.get(EPOCH, ""))
    if epoch is None and EPOCH in request.headers:
        raise Problem(400, "Bad Request", f"{EPOCH}: not an epoch", EPOCH, ProblemType.SLOT)
    call_id = CallId.parse(request.headers.get(SLOT, ""))
    if call_id is None and SLOT in request.headers:
        raise Problem(400, "Bad Request", f"{SLOT}: not session.depth.slot.number", SLOT, ProblemType.SLOT)
    return epoch, call_id, request.headers.get(FINGERPRINT, "").encode()


def message_of(request: Request, asked: Any) -> Message:
    """Return a call of the peer as the fence judges it."""
    runs = getattr(asked, "runs", None)
    longest = LONGEST_ENVELOPE
    if isinstance(runs, Runs):
        rows = min(pages_in(runs), PAGES_AT_ONCE + len(runs))
        longest += min(rows, RUNS_IN_JSON) * REFUSED_ROW + rows * REFUSED_WORDS
    return Message(*_names(request), longest=longest)


async def kept_answer(verdict: Join | Answer | Refuse) -> KeptAnswer:
    """Return the answer to a message that is not to be done; wait for one that is under way."""
    match verdict:
        case Answer(answer):
            return answer
        case Join(kept):
            if kept.task is None:
                kept.task = asyncio.get_running_loop().create_future()
            joined: KeptAnswer = await asyncio.shield(kept.task)
            return joined
        case _:
            return refusal(verdict)


def refusal(verdict: Refuse) -> KeptAnswer:
    """Return the answer that says why nothing was done."""
    title = HTTPStatus(verdict.status).phrase
    body = {"type": verdict.kind.value, "title": title, "status": verdict.status, "detail": verdict.reason}
    return KeptAnswer(verdict.status, PROBLEM, json.dumps(body).encode())


def as_response(answer: KeptAnswer) -> Response:
    """Return a kept answer as an HTTP response."""
    return Response(answer.content, answer.status, media_type=answer.media)


class _Recorded:
    """Puts one call into the trace, and its context before whatever it nests."""

    def __init__(
        self, service: Service, request: Request, caller: Caller, name: str, seconds: float | None
    ) -> None:
        self._observer = service.observer
        self._seconds = seconds
        depth = request.headers.get(DEPTH, "0") if caller.role in VISORS else "0"
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
        deadline = None
        if self._seconds is not None:
            deadline = asyncio.get_running_loop().time() + self._seconds
        self._token = CURRENT.set(CallContext(self._call_id, self._depth, self._traceparent, deadline))
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


async def _ended(_: Request, ended: Exception) -> Response:
    return as_response(refusal(Refuse(409, ProblemType.OTHER_EPOCH, str(ended))))


BROKEN: Final = refusal(Refuse(500, ProblemType.BROKEN, "a fault of this service; its log says more"))


async def _failed(_: Request, __: Exception) -> Response:
    return as_response(BROKEN)
