"""Who may use the console: its own secret, a cookie for it, and what every request and answer must have.

The secret stands in the fragment of the printed URL, which a browser sends to nobody. The page exchanges it
for a cookie that no script can read. No token of the protocol is in either.

Trust: another web site, or another page of this machine, that makes a browser send requests here is refused
by Host, Origin and Sec-Fetch-Site, and gets no cookie sent (SameSite=Strict).
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "pef_console"
SMALL_BODY: Final = 64 << 10
"""Octets that the body of a command may have."""
UPLOAD: Final = 8 << 20
"""Octets that the body which opens a session may have: it may be a whole file."""
OPENING: Final = "/api/v1/sessions"
API: Final = "/api/"
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""What every answer has."""


class Right(IntEnum):
    """What a holder of a cookie may do."""

    WATCH = 1
    """See everything; change nothing."""
    MOVE = 2
    """Open sessions, and give commands."""


class Entrance:
    """The secrets of one console, and the cookies that stand for them.

    Each right has a secret of its own. A cookie is derived from it: a secret is sent once per browser.
    The name of the cookie has the port: all ports of one host share their cookies.
    """

    def __init__(self, secrets: Mapping[Right, str], port: int) -> None:
        self._secrets = dict(secrets)
        self._cookies = {right: _cookie_for(secret) for right, secret in secrets.items()}
        self.cookie_name = f"{COOKIE}_{port}"

    def enter(self, secret: str) -> tuple[Right, str] | None:
        """Return the right that a secret gives, and its cookie; None for a secret that gives none."""
        right = _found(secret, self._secrets)
        return None if right is None else (right, self._cookies[right])

    def right_of(self, cookie: str | None) -> Right | None:
        """Return the right of a cookie."""
        return None if cookie is None else _found(cookie, self._cookies)


def _cookie_for(secret: str) -> str:
    return hmac.digest(secret.encode(), b"pef_console cookie", hashlib.sha256).hex()


def _found(value: str, known: Mapping[Right, str]) -> Right | None:
    """Return whose value it is. Each is compared, in constant time."""
    matches = [
        right
        for right, each in known.items()
        if hmac.compare_digest(each.encode(), value.encode("utf-8", "replace"))
    ]
    return max(matches, default=None)


@dataclass(frozen=True, slots=True)
class Guard:
    """ASGI middleware: Host, Origin and the length of a body, before anything else sees the request.

    `hosts` are the values of Host that are answered, in lower case, with the port.
    """

    app: ASGIApp
    hosts: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with one line."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    added[name] = value
                added.setdefault("cache-control", "no-store")
            await send(message)

        if refused := self._refusal(scope, headers):
            status, detail = refused
            answer = JSONResponse({"detail": detail}, status)
            await answer(scope, receive, send_with_headers)
            return
        await self.app(scope, _Bounded(receive, _most_octets(scope)), send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, f"this console answers at {', '.join(sorted(self.hosts))}, and at no other host"
        origins = {f"http://{host}" for host in self.hosts}
        if any(origin.lower() not in origins for origin in headers.getlist("origin")):
            return 403, "a request of another origin is refused"
        foreign = headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
        if foreign and scope["path"].startswith(API):
            return 403, "a request of another site is refused"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _most_octets(scope):
            return 413, _too_long(_most_octets(scope))
        return None


class _Bounded:
    """Gives the body of a request piece by piece, and stops where it is too long."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._came = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._came += len(message.get("body", b""))
        if self._came > self._most:
            raise HTTPException(413, _too_long(self._most))
        return message


def _most_octets(scope: Scope) -> int:
    return UPLOAD if scope["path"] == OPENING else SMALL_BODY


def _too_long(most: int) -> str:
    return f"the request is too long: at most {most:,} octets are read"
