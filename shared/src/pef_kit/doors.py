"""Who stands at the door: bearer tokens to callers, and the problem bodies for those who may not enter."""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from fastapi import Request, Response

from pef_kit.decoding import u64_of
from pef_protocol.identity import Incarnation
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
        *,
        headers: Mapping[str, str] | None = None,
        **members: str,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.field = field
        self.kind = kind
        self.headers = headers or {}
        self.members = members

    def response(self) -> Response:
        """Return the problem as an HTTP response."""
        body = {
            "type": self.kind.value,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        if self.field:
            body["field"] = self.field
        headers = {"www-authenticate": "Bearer"} if self.status == 401 else {}  # noqa: PLR2004
        return Response(json.dumps(body), self.status, {**headers, **self.headers}, PROBLEM)


class Doorkeeper:
    """Knows the token of each role, the key that guests' tokens are minted from, and which VMs live here.

    `incarnation_of` returns the incarnation of the VM that has an lpid now, or None where no VM has it.
    """

    def __init__(
        self,
        tokens: Mapping[Role, str],
        guest_key: str,
        incarnation_of: Callable[[Lpid], Incarnation | None] = lambda _: None,
    ) -> None:
        self.incarnation_of = incarnation_of
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
        self.require_current(guest)
        return guest

    def require_current(self, caller: Caller) -> None:
        """Raise Problem 401 where a guest's token names a VM that has ended.

        Order: at the start of a request, after the last byte of its body, and at an operation's first step.
        """
        if caller.role is not Role.GUEST or caller.lpid is None:
            return
        if caller.incarnation != self.incarnation_of(caller.lpid):
            detail = f"this token's VM {caller.lpid} has ended, or is another by now: a new token is needed"
            raise Problem(401, "Unauthorized", detail)

    def admit(self, request: Request, *roles: Role) -> Caller:
        """Return who calls; raise Problem 403 where that is none of `roles`."""
        caller = self.caller(request)
        if caller.role not in roles:
            wanted = " or ".join(roles)
            raise Problem(403, "Forbidden", f"this door is for {wanted}, not for {caller.role}")
        return caller

    def guest(self, request: Request) -> tuple[Caller, Lpid]:
        """Return the guest that calls, and its lpid; raise Problem where no guest does."""
        caller = self.admit(request, Role.GUEST)
        if caller.lpid is None:
            raise Problem(403, "Forbidden", "this token names no VM")
        return caller, caller.lpid


def number(request: Request, name: str) -> int:
    """Return the unsigned 64-bit query parameter `name`; raise Problem 422 where it is none."""
    text = request.query_params.get(name)
    if text is None:
        raise Problem(422, "Unprocessable Content", f"{name}: required in the query", name)
    value = u64_of(text)
    if value is None:
        raise Problem(422, "Unprocessable Content", f"{name}: not an unsigned 64-bit number", name)
    return value


def path_number(request: Request, name: str) -> int:
    """Return the number in a path; raise Problem 422 where it is none."""
    value = u64_of(str(request.path_params[name]))
    if value is None:
        raise Problem(422, "Unprocessable Content", f"{name}: not an unsigned number", name)
    return value


Handler = Callable[[Request], Awaitable[Response]]
