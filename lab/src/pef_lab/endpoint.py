"""One door of one service, as one role: every request of the lab goes through here.

What is no answer of the protocol - no connection, too late, a 4xx or 5xx - becomes `Unanswered`, with the
problem body's own words. Bodies are never put into an exception: they may be a page.
"""

import json
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Self

import httpx

from pef_kit.runtime.connections import UNREACHED, client_of
from pef_kit.runtime.messages import decode_reply, encode_call
from pef_lab.failures import Unanswered, Unreached
from pef_protocol.calls import CALLS, Reply
from pef_protocol.http import CALL_ID, EPOCH, IDEMPOTENCY_KEY, JSON, OCTETS, OPERATIONS_PATH, PROBLEM

MAX_ATTEMPTS: Final = 600.0
"""Seconds that a request may take: `eager` on a large machine is slow, and that is its point."""
CONNECTIONS: Final = 64
REPEATS: Final = 3
"""How often a request that acts once is sent, where connections break."""
_NAMED: ContextVar[str] = ContextVar("_NAMED", default="")
"""The id that requests of this task bear; empty: none."""


@contextmanager
def requests_named(call_id: str) -> Iterator[None]:
    """Have each request that is sent in the block bear an id: what it nests names that id as its parent."""
    token = _NAMED.set(call_id)
    try:
        yield
    finally:
        _NAMED.reset(token)


class Endpoint:
    """A service's door, entered with one token; a visor's calls name `epoch`.

    `renew` gives a new token where this one is known no longer, or nothing where there is none to be had.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        token: str,
        epoch: str = "",
        *,
        renew: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.name = name
        self._epoch = {EPOCH: epoch} if epoch else {}
        self._renew = renew
        self._client = client_of(base_url, token, connections=CONNECTIONS, timeout=MAX_ATTEMPTS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def speak_as(self, token: str) -> None:
        """Enter with another token from now on."""
        self._client.headers["authorization"] = f"Bearer {token}"

    async def ask(self, method: str, path: str, *, once: bool = False, **form: Any) -> httpx.Response:
        """Send a request; return the answer if its status is 200, raise Unanswered if not.

        `once`: it has a key, and is repeated with it where the connection breaks, for it acts once. An
        operation that is still open is waited for.
        """
        what = f"{method} {path} at the {self.name}"
        if named := _NAMED.get():
            form["headers"] = {CALL_ID: named, **(form.get("headers") or {})}
        if once:
            form["headers"] = {**form.get("headers", {}), IDEMPOTENCY_KEY: secrets.token_hex(16)}
        attempts = REPEATS if once else 1
        response = await self._send(what, method, path, attempts, form)
        unknown = response.status_code == httpx.codes.UNAUTHORIZED
        if unknown and self._renew is not None and (token := await self._renew()):
            self.speak_as(token)
            response = await self._send(what, method, path, attempts, form)
        while response.status_code == httpx.codes.SERVICE_UNAVAILABLE and (open_one := _operation(response)):
            response = await self._send(what, "GET", OPERATIONS_PATH + open_one, REPEATS, {})
        if response.status_code != httpx.codes.OK:
            raise Unanswered(what, _problem(response))
        return response

    async def _send(
        self, what: str, method: str, path: str, attempts: int, form: dict[str, Any]
    ) -> httpx.Response:
        for attempt in range(1, attempts + 1):
            try:
                return await self._client.request(method, path, **form)
            except UNREACHED as failure:
                if attempt == attempts or isinstance(failure, httpx.TimeoutException):
                    raise unreached(what, self._client.base_url, failure) from None
        raise AssertionError(what)

    async def view(self, path: str, **query: int) -> Any:
        """Return the JSON at `path`."""
        response = await self.ask("GET", path, params=query)
        with understood(f"GET {path} at the {self.name}"):
            return json.loads(response.content)

    async def post(self, path: str, body: Any, **form: Any) -> httpx.Response:
        """Post `body` as JSON."""
        return await self.ask("POST", path, json=body, **form)

    async def send(
        self, path: str, content: bytes, headers: Mapping[str, str] | None = None, **query: int
    ) -> httpx.Response:
        """Post octets."""
        sent = {"content-type": OCTETS, **(headers or {})}
        return await self.ask("POST", path, content=content, headers=sent, params=query)

    async def call(self, name: str, request: object, *, once: bool = False) -> Reply:
        """Make a call of the protocol and return its reply; `once`: with a key, as `ask` says."""
        form = encode_call(CALLS[name], request)
        form["headers"] |= self._epoch
        response = await self.ask("POST", form.pop("url"), once=once, **form)
        with understood(f"{name} at the {self.name}"):
            media = response.headers.get("content-type", JSON)
            return decode_reply(CALLS[name], response.content, media)


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Raise Unanswered where an answer to `what`, which is read in the block, is none of the protocol."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as failure:
        shown = f"{type(failure).__name__}: {failure}"
        raise Unanswered(what, f"not an answer of the protocol ({shown})") from None


def unreached(what: str, url: object, failure: Exception) -> Unreached:
    """Return what to raise where a request was not answered by HTTP; `url` is named unless it is empty."""
    at = f" from {url}" if url else ""
    return Unreached(what, f"no answer{at} ({_reason_of(failure)})")


def _reason_of(failure: Exception) -> str:
    cause = failure.__cause__ or failure
    refused = getattr(cause, "os_error", cause)
    number = getattr(refused, "errno", None)
    known = os.strerror(number) if isinstance(number, int) and number > 0 else ""
    return known or getattr(refused, "strerror", "") or str(cause) or type(cause).__name__


def is_octets(response: httpx.Response) -> bool:
    """Tell whether an answer is bytes of memory rather than words about them."""
    return bool(response.headers.get("content-type", "").startswith(OCTETS))


def _operation(response: httpx.Response) -> str:
    """Return the id of the operation that a problem says is still open, or nothing."""
    if not response.headers.get("content-type", "").startswith(PROBLEM):
        return ""
    return str(_object(response).get("operation") or "")


def _problem(response: httpx.Response) -> str:
    status = f"HTTP status {response.status_code}"
    is_json = response.headers.get("content-type", "").startswith((PROBLEM, JSON))
    detail = _object(response).get("detail") if is_json else None
    return f"{status}: {detail}" if detail else status


def _object(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object that an answer is; an empty one where it is none."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
