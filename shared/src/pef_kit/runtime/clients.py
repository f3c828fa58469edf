"""Requests of guests and VMMs: each acts once, goes on without its connection, and is answered in time.

Their operations run as tasks. A request waits for its task for a bounded time; then it reads 503 "still open"
with the operation's id, by which, or by the same `Idempotency-Key`, the outcome is read later.

Source: rules 8 and 14 of ARCHITECTURE.md, "Identity and time".
"""

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, Literal, TypeVar

from fastapi import Depends, Header, Query, Request, Response
from pydantic import BaseModel

from pef_kit.core.idempotency import (
    LONGEST_ANSWER,
    ClientOperation,
    ClientOperations,
    NoRoom,
    OperationAnswer,
    OtherRequest,
    Scope,
)
from pef_kit.core.life import Ended
from pef_kit.runtime.auth import Problem
from pef_kit.runtime.messages import MEMORY, Number
from pef_kit.runtime.runner import Precondition
from pef_protocol.http import IDEMPOTENCY_KEY, JSON, OPERATIONS_PATH, REPLAYED, Caller
from pef_protocol.identity import Incarnation

KEY_FORM: Final = re.compile("[ -~]{1,255}")
ANSWER_WITHIN: Final = 60.0
INTERNAL_ERROR: Final = 500
BUSY: Final = "busy"
"""The reason of an access that did nothing."""

T = TypeVar("T")


async def idempotency_key(
    _: Annotated[
        str | None,
        Header(alias=IDEMPOTENCY_KEY, description="Names this request: a repeat with the same key acts once"),
    ] = None,
) -> None:
    """Say in the OpenAPI document that a request may have a key; `Clients.act` reads it."""


async def octets_of(request: Request) -> bytes:
    """Return the body of a request, which has come whole."""
    return await request.body()


Octets = Annotated[bytes, Depends(octets_of)]
"""A body of octets."""
Length = Annotated[Number, Query(le=MEMORY)]
"""Bytes of one load or read."""
Keyed = Annotated[None, Depends(idempotency_key)]
"""Of a handler whose request may have an `Idempotency-Key`."""


class Access(BaseModel):
    """What became of a load or store: where it was refused, the reason, and the address at fault."""

    access: Literal["resolved", "refused"]
    reason: str = ""
    gpa: int = 0


class NothingDone(Response):
    """An answer after which nothing was done: a repeat of its request acts."""


def access_refused(reason: str, gpa: int) -> Response:
    """Return the answer to a load or store that does not resolve; one that is busy may be repeated."""
    body = json.dumps({"access": "refused", "reason": reason, "gpa": gpa})
    return (NothingDone if reason == BUSY else Response)(body, media_type=JSON)


class Clients:
    """The operations of guests and VMMs at one endpoint.

    `within` is how long a request waits for its operation, by `clock` (both in seconds); `new_id` makes ids
    that nobody can guess.
    """

    def __init__(self, *, within: float, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._within = within
        self._clock = clock
        self._new_id = new_id
        self._kept = ClientOperations()
        self._tasks: dict[ClientOperation, asyncio.Task[Response]] = {}

    async def act(
        self,
        request: Request,
        caller: Caller,
        check: Precondition,
        work: Callable[[], Awaitable[Response]],
        *,
        reads: bool = False,
    ) -> Response:
        """Answer a request whose last byte has come: by `work`, or as a request with its key was answered.

        `check` says whether it may begin. A request that only `reads` has no key.
        """
        scope = _scope_of(caller)
        key = _key_of(request, reads=reads)
        fingerprint = _fingerprint(request, await request.body()) if key else b""
        try:
            known = self._kept.known(scope, key, fingerprint, self._clock())
            if known is not None:
                return await self._outcome(known, replayed=True)
            check()
            kept = self._kept.begin(scope, key, fingerprint, self._new_id())
        except OtherRequest:
            raise Problem(422, "this key was used for another request", IDEMPOTENCY_KEY) from None
        except NoRoom:
            raise Problem(503, "too many operations are open or were answered lately") from None
        task = asyncio.ensure_future(self._work(kept, work))
        self._tasks[kept] = task
        task.add_done_callback(lambda _: self._tasks.pop(kept, None))
        return await self._outcome(kept, task)

    async def read(self, caller: Caller, operation: str) -> Response:
        """Answer with the outcome of an operation of the caller's, by its id."""
        kept = self._kept.find(_scope_of(caller), operation, self._clock())
        if kept is None:
            raise Problem(404, "the caller has no such operation that is open or kept")
        return await self._outcome(kept, replayed=True)

    def drop(self, incarnation: Incarnation) -> None:
        """Forget what is kept of a VM that ended; what is open of it is answered to who waits for it."""
        self._kept.drop(incarnation)

    async def close(self) -> None:
        """End what is open."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _outcome(
        self, kept: ClientOperation, task: "asyncio.Task[Response] | None" = None, *, replayed: bool = False
    ) -> Response:
        task = task or self._tasks.get(kept)
        if kept.answer is not None:
            response = Response(
                bytes(kept.answer.body), kept.answer.status, media_type=kept.answer.media_type
            )
        elif task is None:
            raise Problem(404, "the VM of this operation has ended")
        else:
            await asyncio.wait({task}, timeout=self._within)
            if not task.done():
                kept.reported = True
                detail = f"still open: read its outcome at {OPERATIONS_PATH}{kept.operation}"
                raise Problem(503, detail, headers={"retry-after": "1"}, operation=kept.operation)
            response = task.result()
        if replayed:
            response.headers[REPLAYED] = "true"
        return response

    async def _work(self, kept: ClientOperation, work: Callable[[], Awaitable[Response]]) -> Response:
        failed = Problem(INTERNAL_ERROR, "a fault of this service; its log says more")
        response = failed.response()
        try:
            response = await work()
        except Problem as problem:
            response = problem.response()
        except Ended as ended:
            response = Problem(409, str(ended)).response()
        except Exception:
            logging.getLogger("uvicorn.error").exception("operation %s", kept.operation)
        finally:
            status = response.status_code
            acted = not isinstance(response, NothingDone) and (status < 400 or status >= INTERNAL_ERROR)  # noqa: PLR2004
            self._kept.end(kept, _kept_form(response), self._clock(), acted=acted and status != 503)  # noqa: PLR2004
        return response


def _scope_of(caller: Caller) -> Scope:
    return Scope(caller.role, caller.incarnation, caller.problem_state)


def _key_of(request: Request, *, reads: bool) -> str:
    key = request.headers.get(IDEMPOTENCY_KEY, "")
    if not key:
        return ""
    if reads:
        raise Problem(422, "a load or read has no key: repeat it", IDEMPOTENCY_KEY)
    if not KEY_FORM.fullmatch(key):
        raise Problem(422, "not 1 to 255 characters of ASCII", IDEMPOTENCY_KEY)
    return key


def _fingerprint(request: Request, body: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in (
        request.method.encode(),
        request.url.path.encode(),
        request.url.query.encode(),
        request.headers.get("content-type", "").encode(),
        request.headers.get("if-match", "").encode(),
        body,
    ):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def _kept_form(response: Response) -> OperationAnswer:
    body = response.body
    if len(body) > LONGEST_ANSWER:
        gone = Problem(410, f"done; its answer had {len(body)} bytes and was not kept").response()
        return OperationAnswer(gone.status_code, gone.media_type or "", bytearray(gone.body))
    return OperationAnswer(response.status_code, response.media_type or "", bytearray(body))
