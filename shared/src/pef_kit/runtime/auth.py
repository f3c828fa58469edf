"""Who calls: bearer tokens to callers, a security scheme for each role, and the problem bodies of refusals.

The middleware of `pef_kit.runtime.edge` authenticates each request before its body is read. Handlers only ask
who it was: `TheCaller` and `TheGuest`.
"""

import hmac
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Request, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from pef_protocol.auth import read_guest_token
from pef_protocol.http import PROBLEM, Caller, Role
from pef_protocol.identity import Incarnation
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import Lpid

BEARER: Final = "bearer "
CALLER: Final = "pef.caller"
"""Under this key the scope of a request holds its caller."""
TITLES: Final[Mapping[int, str]] = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Titles of statuses that Python 3.11 knows by an older name."""


class Problem(HTTPException):
    """A request that is not of our protocol (RFC 9457): HTTP status, detail, field at fault, type."""

    def __init__(
        self,
        status: int,
        detail: str,
        field: str = "",
        kind: ProblemType = ProblemType.OTHER,
        *,
        headers: Mapping[str, str] | None = None,
        **members: str,
    ) -> None:
        super().__init__(status, detail, headers)
        self.field = field
        self.kind = kind
        self.members = members

    def __str__(self) -> str:
        """Return the detail."""
        return self.detail

    def response(self) -> Response:
        """Return the problem as an HTTP response."""
        status = self.status_code
        body = {
            "type": self.kind.value,
            "title": TITLES.get(status) or HTTPStatus(status).phrase,
            "status": status,
            "detail": self.detail,
            **self.members,
        }
        if self.field:
            body["field"] = self.field
        headers = {"www-authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
        return Response(json.dumps(body), status, {**headers, **(self.headers or {})}, PROBLEM)


class Authenticator:
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

    def caller(self, authorization: str) -> Caller:
        """Return who sent this Authorization header; raise Problem 401 where its token is not known."""
        token = authorization[len(BEARER) :] if authorization.lower().startswith(BEARER) else ""
        presented = token.encode()
        for role, known in self._tokens.items():
            if hmac.compare_digest(known, presented):
                return Caller(role)
        guest = read_guest_token(self._guest_key, token) if token else None
        if guest is None:
            raise Problem(401, "a bearer token that this service knows is required")
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
            raise Problem(401, detail)


def require_role(caller: Caller, roles: Collection[Role]) -> None:
    """Raise Problem 403 where `caller` has none of `roles`."""
    if caller.role not in roles:
        wanted = " or ".join(sorted(roles))
        raise Problem(403, f"this route is for {wanted}, not for {caller.role}")


class RoleScheme(HTTPBearer):
    """The bearer token of one role, as OpenAPI describes it. The middleware has checked it by then."""

    def __init__(self, role: Role, description: str) -> None:
        super().__init__(scheme_name=role.value, description=description, auto_error=False)

    async def __call__(self, request: HTTPConnection) -> None:
        """Check nothing more."""


SCHEMES: Final[Mapping[Role, RoleScheme]] = {
    role: RoleScheme(role, description)
    for role, description in {
        Role.VMM: "Creates VMs and owns their lives.",
        Role.GUEST: "A VM: the token names its lpid, its incarnation at this service, and its privilege.",
        Role.HYPERVISOR: "The other side of the Ultravisor's protocol.",
        Role.ULTRAVISOR: "The other side of the Hypervisor's protocol.",
        Role.OBSERVER: "Reads states and counts, never the contents of a page.",
    }.items()
}
"""The security scheme of each role, named by the role."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest that calls, and the VM that it is."""

    caller: Caller
    lpid: Lpid


async def caller_of(request: Request) -> Caller:
    """Return who calls, as the middleware has found."""
    caller: Caller = request.scope[CALLER]
    return caller


async def guest_of(request: Request) -> Guest:
    """Return the guest that calls; raise Problem 403 where its token names no VM."""
    caller = await caller_of(request)
    if caller.lpid is None:
        raise Problem(403, "this token names no VM")
    return Guest(caller, caller.lpid)


TheCaller = Annotated[Caller, Depends(caller_of)]
TheGuest = Annotated[Guest, Depends(guest_of)]
