"""How a played side reads what it is asked, and writes its answers."""

import hmac
import json
from typing import Any, Final

from aiohttp import web

from pef_kit.runtime.messages import Malformed, from_json, from_octets
from pef_protocol.calls import CALLS, Call, Reply
from pef_protocol.http import JSON, OCTETS, PROBLEM

BEARER: Final = "bearer"


class NotOurs(Exception):
    """A request that is not of the protocol: the HTTP status to answer with."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def require_token(request: web.Request, token: str) -> None:
    """Raise NotOurs where a request does not show `token`."""
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != BEARER or not hmac.compare_digest(shown.encode(), token.encode()):
        raise NotOurs(401, "a token that this side knows is required")


def read_call(request: web.Request, body: bytes, path: str) -> tuple[Call, Any]:
    """Return the call that a request makes under `path`, and its arguments; raise NotOurs for none."""
    call = CALLS.get(request.path.removeprefix(path))
    if call is None or not request.path.startswith(path):
        raise NotOurs(404, f"nothing is at {request.path}")
    try:
        if request.content_type == OCTETS:
            return call, from_octets(call, request.query, body)
        return call, from_json(call, body)
    except Malformed as fault:
        raise NotOurs(422, str(fault)) from None


def told(call: Call, reply: Reply) -> web.Response:
    """Return a reply as it travels."""
    body = {
        "call": call.name,
        "code": {"name": reply.code.name, "number": int(reply.code)},
        "outputs": dict(reply.outputs),
        "refused": [list(row) for row in reply.refused.coded()],
        "detail": reply.detail,
    }
    return web.Response(text=json.dumps(body), content_type=JSON)


def problem(refusal: NotOurs) -> web.Response:
    """Return a refusal as HTTP has it."""
    detail = str(refusal)
    body = {"type": "about:blank", "title": detail, "status": refusal.status, "detail": detail}
    return web.Response(text=json.dumps(body), status=refusal.status, content_type=PROBLEM)
