"""Who stands at the door: bearer tokens to callers, and the problem bodies for those who may not enter."""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from fastapi import Request, Response

from pef_kit.decoding import u64_of
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import Lpid
from pef_protocol.tokens import read_guest_token
from pef_protocol.wire import PROBLEM, Caller, Role

BEARER: Final = "bearer "


class Problem(Exception):
    """A request that is not of our protocol (RFC 9457): HTTP status, title, detail, field at fault, type."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        field: str = "",
        kind: ProblemType = ProblemType.OTHER,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.field = field
        self.kind = kind

    def response(self) -> Response:
        """Return the problem as an HTTP response."""
        body = {
            "type": self.kind.value,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.field:
            body["field"] = self.field
        headers = {"www-authenticate": "Bearer"} if self.status == 401 else None  # noqa: PLR2004
        return Response(json.dumps(body), self.status, headers, PROBLEM)


class Doorkeeper:
    """Knows the token of each role and the key that guests' tokens are minted from."""

    def __init__(self, tokens: Mapping[Role, str], guest_key: str) -> None:
        self._tokens = {role: token.encode() for role, token in tokens.items()}
        self._guest_key = guest_key

    def caller(self, request: Request) -> Caller:
        """Return who calls; raise Problem 401 where the token is missing or unknown."""
        given = request.headers.get("authorization", "")
        token = given[len(BEARER) :] if given.lower().startswith(BEARER) else ""
        presented = token.encode()
        for role, known in self._tokens.items():
            if hmac.compare_digest(known, presented):
                return Caller(role)
        guest = read_guest_token(self._guest_key, token) if token else None
        if guest is None:
            raise Problem(401, "Unauthorized", "a bearer token that this service knows is required")
        return guest

    def admit(self, request: Request, *roles: Role) -> Caller:
        """Return who calls; raise Problem 403 where that is none of `roles`."""
        caller = self.caller(request)
        if caller.role not in roles:
            wanted = " or ".join(roles)
            raise Problem(403, "Forbidden", f"this door is for {wanted}, not for {caller.role}")
        return caller

    def guest(self, request: Request) -> Lpid:
        """Return the lpid of the guest that calls; raise Problem where no guest does."""
        lpid = self.admit(request, Role.GUEST).lpid
        if lpid is None:
            raise Problem(403, "Forbidden", "this token names no VM")
        return lpid


def number(request: Request, name: str) -> int:
    """Return the unsigned 64-bit query parameter `name`; raise Problem 422 where it is none."""
    text = request.query_params.get(name)
    if text is None:
        raise Problem(422, "Unprocessable Content", f"{name}: required in the query", name)
    value = u64_of(text)
    if value is None:
        raise Problem(422, "Unprocessable Content", f"{name}: not an unsigned 64-bit number", name)
    return value


Handler = Callable[[Request], Awaitable[Response]]
