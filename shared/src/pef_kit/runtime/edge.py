"""The edge of a service: what is checked of each request before a byte of its body is read.

| order | check | answer |
|---|---|---|
| 1 | no upgrade is offered | 400, and the connection is closed |
| 2 | the token is known | 401 |
| 3 | the route is for this role | 403 |
| 4 | the announced body is within the limit | 413 |
| 5 | there is an epoch, where the route needs one | 503 |
| 6 | a message between the sides names this epoch, and a number that its slot may carry | 400, 409, 429 |

Then the body is read within its limit and its time, and handed on whole; only the body of the memory bus goes
on as a stream. What routes ask for stands in one table, `Rules`.

| body | bytes |
|---|---|
| a call without runs, and whatever else is JSON | 4 KiB |
| runs as JSON; runs as octets from anyone but a visor | 64 KiB |
| runs as octets from a visor | `RUNS_AT_ONCE` rows |
| octets of memory from a guest or the VMM | 16 MiB |
| the memory bus | what its own head says, as a stream |
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from starlette.datastructures import Headers
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from pef_kit.core.fence import Fence, Message, Refuse
from pef_kit.runtime.auth import CALLER, Authenticator, Problem, require_role
from pef_kit.runtime.log import Log
from pef_protocol.calls import Call
from pef_protocol.http import (
    EPOCH,
    FINGERPRINT,
    IDEMPOTENCY_KEY,
    JSON,
    OCTETS,
    RUNS_AT_ONCE,
    SLOT,
    Caller,
    Role,
)
from pef_protocol.identity import CallId, Epoch
from pef_protocol.problems import ProblemType
from pef_protocol.runs import WORD_BYTES

SMALL: Final = 4 << 10
JSON_OF_RUNS: Final = 64 << 10

READ_TIMEOUT: Final = 30.0
"""Seconds that a request may take to arrive, beside the time that its bytes take."""
SLOWEST: Final = 1 << 20
"""Bytes a second that a sender must send at least, beyond that."""
NAMES: Final = "pef.names"
"""Under this key the scope of a message between the sides holds what it says of itself."""
SERVICE_UNAVAILABLE: Final = 503
OF_A_BODY: Final = frozenset({b"content-length", b"transfer-encoding"})

VISORS: Final = frozenset({Role.ULTRAVISOR, Role.HYPERVISOR})
ALL: Final = frozenset(Role)
NOBODY: Final = frozenset[Role]()

Limit: TypeAlias = Callable[[Caller | None, Headers], int | None]
"""Bytes that a body may have, by who sends it and its headers; None: the handler counts them itself."""
Names: TypeAlias = tuple[Epoch | None, CallId | None, bytes]
"""What a message between the sides says of itself: epoch, call id and fingerprint."""


def at_most(limit: int | None) -> Limit:
    """Return the limit that is the same for everybody."""
    return lambda _, __: limit


def limit_of(call: Call) -> Limit:
    """Return how many bytes the body of `call` may have."""
    if call.runs is None:
        return at_most(SMALL)
    of_visor = RUNS_AT_ONCE * call.runs.WIDTH * WORD_BYTES

    def limit(caller: Caller | None, headers: Headers) -> int:
        octets = headers.get("content-type", JSON).startswith(OCTETS)
        return of_visor if octets and caller is not None and caller.role in VISORS else JSON_OF_RUNS

    return limit


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route asks of a request before its body is read.

    `roles`: who may come; none: anybody, with or without a token. `needs_epoch`: the route needs the peer.
    `between`: a message of the peer, which names the epoch and perhaps a number.
    """

    roles: frozenset[Role]
    limit: Limit
    needs_epoch: bool = False
    between: bool = False


class Rules:
    """The table of routes: the rule of each, by method and path."""

    def __init__(self) -> None:
        self._fixed: dict[tuple[str, str], Rule] = {}
        self._with_parameters: list[tuple[str, re.Pattern[str], Rule]] = []

    def add(self, method: str, path: str, rule: Rule) -> None:
        """Add the rule of a route; `path` may have parameters in braces."""
        if "{" in path:
            self._with_parameters.append((method, compile_path(path)[0], rule))
        else:
            self._fixed[method, path] = rule

    def find(self, method: str, path: str) -> Rule | None:
        """Return the rule of a request, or None where it has no route: then nothing of it is read."""
        found = self._fixed.get((method, path))
        if found is not None:
            return found
        for its_method, pattern, rule in self._with_parameters:
            if its_method == method and pattern.match(path):
                return rule
        return None


class Admission(Protocol):
    """What the edge has to know of a service."""

    fence: Fence
    fits: bool
    peer_role: Role

    def require_epoch(self) -> None:
        """Raise Problem 503 where there is no epoch."""


class Edge:
    """The middleware: a plain ASGI application around the routes of a service."""

    def __init__(
        self,
        app: ASGIApp,
        rules: Rules,
        authenticator: Authenticator,
        admission: Admission,
        log: Log,
        seconds: float,
    ) -> None:
        self._app = app
        self._rules = rules
        self._authenticator = authenticator
        self._admission = admission
        self._log = log
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the problem that a request has, or pass it on with its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if offers_upgrade(scope["headers"]):
                reason = "this service speaks HTTP/1.1 alone: ask again without Upgrade"
                raise Problem(400, reason, headers={"connection": "close"})
            rule = self._rules.find(scope["method"], scope["path"])
            if rule is not None:
                body = self._admitted(rule, scope, receive)
                if body.limit is not None:
                    await body.read()
                receive = body.receive
        except Problem as problem:
            if not isinstance(problem, ClientLeft):  # that has its line
                self._log.refused(scope["method"], scope["path"], problem.status_code, problem.detail)
            response = problem.response()
            if any(name in OF_A_BODY for name, _ in scope["headers"]):
                # Order: what is left of the body is never read, so nobody may send another request behind it.
                response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admitted(self, rule: Rule, scope: Scope, receive: Receive) -> "Body":
        """Check a request before its body is read, and return the body; raise Problem as the table says."""
        headers = Headers(scope=scope)
        caller = None
        if rule.roles:
            caller = self._authenticator.caller(headers.get("authorization", ""))
            require_role(caller, rule.roles)
            scope[CALLER] = caller
        announced, limit = announced_length(headers), rule.limit(caller, headers)
        if limit is not None and announced is not None and announced > limit:
            raise Problem(413, f"a body may have {limit} bytes, not {announced}")
        if rule.between and caller is not None and caller.role is self._admission.peer_role:
            if not self._admission.fits:
                self._admission.require_epoch()
            scope[NAMES] = names = names_of(headers)
            require_in_turn(self._admission.fence, names)
        elif rule.needs_epoch and IDEMPOTENCY_KEY not in headers:  # a repeat may read an answer that is kept
            self._admission.require_epoch()

        def client_left(came: int) -> None:
            self._log.client_left(scope["method"], scope["path"], came, announced)

        return Body(receive, announced, limit, self._seconds, client_left)


def require_in_turn(fence: Fence, names: Names) -> None:
    """Raise Problem where a message must not be done, whatever its body holds. This changes nothing.

    A message whose answer may have more bytes than can be kept is never begun: so the fence only looks.
    """
    verdict = fence.receive(Message(*names, longest=fence.budget + 1))
    if isinstance(verdict, Refuse) and verdict.status != SERVICE_UNAVAILABLE:
        raise Problem(verdict.status, verdict.reason, kind=verdict.kind)


def names_of(headers: Headers) -> Names:
    """Return what a message says of itself: epoch, call id and fingerprint; raise Problem where malformed."""
    epoch = Epoch.parse(headers.get(EPOCH, ""))
    if epoch is None and EPOCH in headers:
        raise Problem(400, f"{EPOCH}: not an epoch", EPOCH, ProblemType.SLOT)
    call_id = CallId.parse(headers.get(SLOT, ""))
    if call_id is None and SLOT in headers:
        raise Problem(400, f"{SLOT}: not session.depth.slot.number", SLOT, ProblemType.SLOT)
    return epoch, call_id, headers.get(FINGERPRINT, "").encode()


def announced_length(headers: Headers) -> int | None:
    """Return the Content-Length of a request, None where its body is chunked; raise Problem 400 on junk."""
    text = headers.get("content-length")
    if text is None:
        return None if "transfer-encoding" in headers else 0
    if not (text.isascii() and text.isdecimal()):
        raise Problem(400, "Content-Length is no number", "content-length")
    return int(text)


def offers_upgrade(headers: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether the headers of a request offer another protocol: then its body does not arrive.

    A parser that sees the offer takes no body; what follows would be read as a request of its own.
    """
    return any(
        name == b"upgrade" or (name == b"connection" and b"upgrade" in value.lower())
        for name, value in headers
    )


class ClientLeft(Problem):
    """A client left in the middle of a body: there is nobody to be answered."""


class Body:
    """The body of a request as it comes: at most `limit` bytes (None: no limit), in time, and all of it.

    It has `seconds`, and more by its size. Problems: 413 over the limit; 408 where it is late; 400 where
    another number of bytes came than was announced, as happens behind an offered upgrade; `ClientLeft` where
    the connection broke, of which `client_left` is told, with the number of bytes that came.
    """

    def __init__(
        self,
        receive: Receive,
        announced: int | None,
        limit: int | None,
        seconds: float,
        client_left: Callable[[int], None],
    ) -> None:
        self.limit = limit
        self._receive = receive
        self._announced = announced
        self._left = seconds
        self._client_left = client_left
        self._came = 0
        self._whole: bytes | None = None
        self._ended = False

    async def read(self) -> None:
        """Read all of it, so that `receive` gives it at once; raise Problem."""
        if self._announced == 0:
            self._whole = b""
            return
        message = await self._next()
        if not message["more_body"]:
            self._whole = message["body"]
            return
        content = bytearray(message["body"])
        while message["more_body"]:
            message = await self._next()
            content += message["body"]
        self._whole = bytes(content)

    async def receive(self) -> AsgiMessage:
        """Return the next message: all of the body where it was read, else what comes; raise Problem."""
        if self.limit is None and not self._ended:
            return await self._next()
        if self._whole is None:
            return await self._receive()
        content, self._whole = self._whole, None
        return {"type": "http.request", "body": content, "more_body": False}

    async def _next(self) -> AsgiMessage:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._left):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, f"only {self._came} bytes of the body came in time") from None
        if message["type"] == "http.disconnect":
            self._client_left(self._came)
            raise ClientLeft(400, f"only {self._came} bytes of the body came")
        piece, more = message.get("body", b""), message.get("more_body", False)
        self._came += len(piece)
        self._left += len(piece) / SLOWEST - (loop.time() - began)
        if self.limit is not None and self._came > self.limit:
            raise Problem(413, f"a body may have {self.limit} bytes")
        if not more and self._announced is not None and self._came != self._announced:
            raise Problem(400, f"{self._announced} bytes were announced, and {self._came} came")
        self._ended = not more
        return {"type": "http.request", "body": piece, "more_body": more}
