"""Requests of guests and VMMs: each acts once, goes on without its connection, and is answered in time.

Their operations run as tasks. A request waits for its task for a bounded time; then it reads 503 "still open"
with the operation's id, by which, or by the same `Idempotency-Key`, the outcome is read later.

Source: rules 8 and 14 of ARCHITECTURE.md, "Identity and time".
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, TypeVar

from fastapi import Request, Response

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
from pef_kit.doors import Problem
from pef_kit.operations import Effect, Operation
from pef_protocol.identity import Incarnation
from pef_protocol.wire import IDEMPOTENCY_KEY, OPERATIONS_PATH, REPLAYED, Caller

KEY_FORM: Final = re.compile("[ -~]{1,255}")
ANSWER_WITHIN: Final = 60.0
INTERNAL_ERROR: Final = 500

T = TypeVar("T")
Check = Callable[[], None]
"""Raises Problem where an operation must not begin."""


class NothingDone(Response):
    """An answer after which nothing was done: a repeat of its request acts."""


def begun_if(check: Check | None, operation: Operation[T]) -> Operation[T]:
    """Begin `operation` only if `check` passes at its first step: a task begins later than it is made."""
    if check is None:
        return operation

    def checked() -> Generator[Effect, Any, T]:
        try:
            check()
        except BaseException:
            operation.close()
            raise
        return (yield from operation)

    return checked()


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
        body: bytes,
        check: Check,
        work: Callable[[], Awaitable[Response]],
        *,
        looks: bool = False,
    ) -> Response:
        """Answer a request whose last byte has come: by `work`, or as a request with its key was answered.

        `check` says whether it may begin. A request that only `looks` has no key.
        """
        scope = _scope_of(caller)
        key = _key_of(request, looks=looks)
        fingerprint = _fingerprint(request, body) if key else b""
        try:
            known = self._kept.known(scope, key, fingerprint, self._clock())
            if known is not None:
                return await self._outcome(known, replayed=True)
            check()
            kept = self._kept.begin(scope, key, fingerprint, self._new_id())
        except OtherRequest:
            raise Problem(
                422, "Unprocessable Content", "this key was used for another request", IDEMPOTENCY_KEY
            ) from None
        except NoRoom:
            raise Problem(
                503, "Service Unavailable", "too many operations are open or were answered lately"
            ) from None
        task = asyncio.ensure_future(self._work(kept, work))
        self._tasks[kept] = task
        task.add_done_callback(lambda _: self._tasks.pop(kept, None))
        return await self._outcome(kept, task)

    async def read(self, request: Request, caller: Caller) -> Response:
        """Answer with the outcome of an operation of the caller's, by its id."""
        operation = str(request.path_params["operation"])
        kept = self._kept.find(_scope_of(caller), operation, self._clock())
        if kept is None:
            raise Problem(404, "Not Found", "the caller has no such operation that is open or kept")
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
            raise Problem(404, "Not Found", "the VM of this operation has ended")
        else:
            await asyncio.wait({task}, timeout=self._within)
            if not task.done():
                kept.told = True
                detail = f"still open: read its outcome at {OPERATIONS_PATH}{kept.operation}"
                raise Problem(
                    503, "Service Unavailable", detail, headers={"retry-after": "1"}, operation=kept.operation
                )
            response = task.result()
        if replayed:
            response.headers[REPLAYED] = "true"
        return response

    async def _work(self, kept: ClientOperation, work: Callable[[], Awaitable[Response]]) -> Response:
        failed = Problem(
            INTERNAL_ERROR, "Internal Server Error", "a fault of this service; its log says more"
        )
        response = failed.response()
        try:
            response = await work()
        except Problem as problem:
            response = problem.response()
        except Ended as ended:
            response = Problem(409, "Conflict", str(ended)).response()
        except Exception:
            logging.getLogger("uvicorn.error").exception("operation %s", kept.operation)
        finally:
            status = response.status_code
            acted = not isinstance(response, NothingDone) and (status < 400 or status >= INTERNAL_ERROR)  # noqa: PLR2004
            self._kept.end(kept, _kept_form(response), self._clock(), acted=acted and status != 503)  # noqa: PLR2004
        return response


def _scope_of(caller: Caller) -> Scope:
    return Scope(caller.role, caller.incarnation, caller.problem_state)


def _key_of(request: Request, *, looks: bool) -> str:
    key = request.headers.get(IDEMPOTENCY_KEY, "")
    if not key:
        return ""
    if looks:
        raise Problem(422, "Unprocessable Content", "a load or read has no key: repeat it", IDEMPOTENCY_KEY)
    if not KEY_FORM.fullmatch(key):
        raise Problem(422, "Unprocessable Content", "not 1 to 255 characters of ASCII", IDEMPOTENCY_KEY)
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
        gone = Problem(410, "Gone", f"done; its answer had {len(body)} bytes and was not kept").response()
        return OperationAnswer(gone.status_code, gone.media_type or "", bytearray(gone.body))
    return OperationAnswer(response.status_code, response.media_type or "", bytearray(body))
