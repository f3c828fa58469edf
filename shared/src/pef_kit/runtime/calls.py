"""Answers the calls of one side, driven by the call table: decode, let the fence judge, run, encode.

The edge has checked token, limit, epoch and number by then. These endpoints are plain: what FastAPI would do
for typed parameters is done here by the models of `pef_kit.runtime.messages`, once, for all calls alike.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from fastapi import Request, Response
from starlette.datastructures import Headers

from pef_kit.core.effects import Operation
from pef_kit.core.fence import Answer, Join, KeptAnswer, Message, Refuse, Run
from pef_kit.core.lease import leased
from pef_kit.core.life import Ended, Life, OtherIncarnation
from pef_kit.core.runs import pages_in
from pef_kit.runtime import messages
from pef_kit.runtime.auth import CALLER, Problem
from pef_kit.runtime.clients import NothingDone
from pef_kit.runtime.edge import NAMES, VISORS, Names
from pef_kit.runtime.runner import Precondition, begun_if
from pef_kit.runtime.trace import Recorded, event_fields
from pef_protocol.calls import Call, Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.events import EventKind, Side
from pef_protocol.http import (
    FINGERPRINT,
    INCARNATION,
    JSON,
    OCTETS,
    PAGES_AT_ONCE,
    PROBLEM,
    RUNS_IN_JSON,
    SLOT,
    TIME_LEFT,
    Caller,
    Role,
)
from pef_protocol.identity import Incarnation
from pef_protocol.problems import ProblemType
from pef_protocol.runs import WORD_BYTES, CodedRuns, Runs

if TYPE_CHECKING:
    from pef_kit.runtime.app import Service

Handle: TypeAlias = Callable[[Caller, str, Any], Operation[Reply]]
BUSY: Final = frozenset({UCode.U_BUSY, HCode.H_BUSY})
"""Answers after which nothing was done, and trying again may help."""
LONGEST_ENVELOPE: Final = 8 << 10
"""Bytes that an answer may have beside its refused runs."""
REFUSED_ROW: Final = 64
"""Bytes of one refused run as JSON, at most."""
REFUSED_WORDS: Final = CodedRuns.WIDTH * WORD_BYTES
"""Bytes of one among many refused runs."""
LONGEST_TIME: Final = 3_600_000
TIME_DIGITS: Final = 10


class CallEndpoint:
    """Answers one call for `service`; `handle` gives the operation that does it."""

    def __init__(self, service: "Service", call: Call, handle: Handle) -> None:
        self._service = service
        self._call = call
        self._handle = handle

    async def __call__(self, request: Request) -> Response:
        """Answer a request whose body has come whole."""
        call, service, headers = self._call, self._service, request.headers
        caller: Caller = request.scope[CALLER]
        names: Names | None = request.scope.get(NAMES)
        body = await request.body()
        if not body and names is not None and (known := self._known(names, headers)) is not None:
            return as_response(await kept_answer(known))
        asked = decoded(call, request, body)
        seconds = time_left(headers) if caller.role in VISORS else None
        if names is not None:
            return as_response(await self._answer_peer(headers, caller, names, asked, seconds))

        async def answered(check: Precondition | None = None) -> Response:
            service.require_epoch()
            life = service.fence.life
            reply = await self._run(headers, caller, asked, life, seconds, check)
            return reply_response(call.name, reply, nothing_done=reply.code in BUSY)

        if caller.role is Role.GUEST:
            return await service.as_guest(request, caller, answered)
        return await answered()

    async def _answer_peer(
        self, headers: Headers, caller: Caller, names: Names, asked: Any, seconds: float | None
    ) -> KeptAnswer:
        """Answer a call of the peer as the fence judges it."""
        service, fence = self._service, self._service.fence
        if not service.fits:
            service.require_epoch()
        # Order: from here to the verdict nothing is awaited: a message is judged as it arrived whole.
        caller = replace(caller, incarnation=Incarnation.parse(headers.get(INCARNATION, "")))
        verdict = fence.receive(Message(*names, longest=longest_answer_to(asked)))
        if not isinstance(verdict, Run):
            return await kept_answer(verdict)
        answer = BROKEN
        try:
            reply = await self._run(headers, caller, asked, verdict.life, seconds)
            content, media = messages.encode_reply(self._call.name, reply)
            answer = KeptAnswer(200, media, content)
        except OtherIncarnation as reason:
            answer = refusal(Refuse(409, ProblemType.OTHER_INCARNATION, str(reason)))
        except Ended as reason:
            answer = refusal(Refuse(409, ProblemType.OTHER_EPOCH, str(reason)))
        finally:
            fence.answered(verdict, answer)
            if verdict.kept.task is not None:
                verdict.kept.task.set_result(answer)
        return answer

    async def _run(
        self,
        headers: Headers,
        caller: Caller,
        asked: Any,
        life: Life,
        seconds: float | None,
        check: Precondition | None = None,
    ) -> Reply:
        """Do what the call asks for, for as long as its epoch lasts, and record it."""
        service, name = self._service, self._call.name
        arguments, pages = event_fields(asked)
        with Recorded(
            service.observer,
            headers,
            caller,
            EventKind.CALL,
            name,
            arguments,
            pages=pages,
            seconds=seconds,
        ) as recorded:
            operation = self._handle(caller, name, asked)
            if check is not None:
                operation = begun_if(check, operation)
            reply = await service.runner.run(leased(operation, life))
            recorded.ends(reply.code.name, reply.detail, reply.check)
        return reply

    def _known(self, names: Names, headers: Headers) -> Join | Answer | Refuse | None:
        """Return the verdict on a message without a body: a repeat may come so, where the first one came."""
        if FINGERPRINT not in headers or SLOT not in headers:
            return None
        fence = self._service.fence
        verdict = fence.receive(Message(*names, longest=fence.budget + 1))
        if isinstance(verdict, Refuse) and verdict.kind is ProblemType.NOT_NOW:
            return Refuse(425, ProblemType.NOT_NOW, "this message has not come yet: send it with its body")
        return verdict if not isinstance(verdict, Run) else None


def unknown_call(side: Side) -> Callable[[Request], Any]:
    """Return the endpoint of every call that `side` does not have."""
    code = UCode.U_FUNCTION if side is Side.ULTRAVISOR else HCode.H_FUNCTION

    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        return reply_response(name, Reply(code, detail=f"{name} is not a call of this side"))

    return answer


def decoded(call: Call, request: Request, body: bytes) -> Any:
    """Return what a body asks for; raise Problem 422 where it is no request of `call`, 413 over its pages."""
    try:
        if request.headers.get("content-type", JSON).startswith(OCTETS):
            asked = messages.from_octets(call, request.query_params, body)
        else:
            asked = messages.from_json(call, body)
        messages.require_few_pages(asked)
    except messages.Malformed as fault:
        raise Problem(422, str(fault), fault.field) from None
    except messages.TooManyPages as fault:
        raise Problem(413, str(fault), "runs") from None
    return asked


def time_left(headers: Headers) -> float | None:
    """Return how many seconds the caller still waits; None where it does not say so.

    Trust: clamped, for it is the peer that says it.
    """
    text = headers.get(TIME_LEFT, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise Problem(400, f"{TIME_LEFT}: not a number of milliseconds", TIME_LEFT)
    return min(int(text[:TIME_DIGITS]), LONGEST_TIME) / 1000


def longest_answer_to(asked: Any) -> int:
    """Return how many bytes the answer to a request may have."""
    runs = getattr(asked, "runs", None)
    longest = LONGEST_ENVELOPE
    if isinstance(runs, Runs):
        rows = min(pages_in(runs), PAGES_AT_ONCE + len(runs))
        longest += min(rows, RUNS_IN_JSON) * REFUSED_ROW + rows * REFUSED_WORDS
    return longest


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


BROKEN: Final = refusal(Refuse(500, ProblemType.BROKEN, "a fault of this service; its log says more"))


def as_response(answer: KeptAnswer) -> Response:
    """Return a kept answer as an HTTP response."""
    return Response(answer.content, answer.status, media_type=answer.media)


def reply_response(name: str, reply: Reply, *, nothing_done: bool = False) -> Response:
    """Return the answer to call `name` as a response; `nothing_done`: so that a repeat acts."""
    body, media = messages.encode_reply(name, reply)
    kind = NothingDone if nothing_done else Response
    return kind(body, media_type=media)
