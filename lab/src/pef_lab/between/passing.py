"""A message on its way from one service to the other, and what was answered to it."""

import json
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from aiohttp import web

from pef_protocol.calls import CALLS
from pef_protocol.events import Side
from pef_protocol.http import (
    CALL_ID,
    FINGERPRINT,
    JSON,
    NORMAL_MEMORY_PATH,
    OCTETS,
    PARENT_ID,
    PROBLEM,
    SLOT,
)
from pef_protocol.problems import ProblemType

OWN: Final = "pef-"
"""What the headers of the protocol between the sides begin with: they pass both ways."""

HOP_BY_HOP: Final = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
BAD_REQUEST: Final = 400
ROW: Final = struct.Struct("<QQ")
"""A row of a bus message: real address and length (bytes)."""
COUNT: Final = 8
"""Bytes before the rows of a bus message that writes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered. Of its `headers` only those of the protocol are passed back."""

    status: int
    media: str
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def code(self) -> str:
        """Return the name of the code; `nothing` where it is no answer of the protocol."""
        try:
            return str(json.loads(self.content)["code"]["name"])
        except (ValueError, KeyError, TypeError):
            return "nothing"

    @property
    def is_out_of_step(self) -> bool:
        """Tell whether it says that the number of the call is none that its slot may have now."""
        return self.status == BAD_REQUEST and ProblemType.SLOT.value.encode() in self.content

    @property
    def refused(self) -> list[tuple[int, int, int]]:
        """Return the runs that were refused: guest address, pages, number of the code."""
        try:
            return [(gpa, count, number) for gpa, count, number in json.loads(self.content)["refused"]]
        except (ValueError, KeyError, TypeError):
            return []

    def response(self) -> web.Response:
        """Return the answer as it is passed back."""
        own = {name: text for name, text in self.headers.items() if name.lower().startswith(OWN)}
        return web.Response(
            status=self.status, body=self.content, headers={**own, "content-type": self.media}
        )


def refusal(kind: ProblemType, status: int) -> Answer:
    """Return a refusal of the message as a service of ours makes it."""
    body = {"type": kind.value, "title": kind.name, "status": status, "detail": "said on the wire"}
    return Answer(status, PROBLEM, json.dumps(body).encode())


def headers_of(request: web.Request) -> dict[str, str]:
    """Return the headers of a request that are for whom it is meant in the end."""
    return {name: text for name, text in request.headers.items() if name.lower() not in HOP_BY_HOP}


@dataclass
class Passing:
    """A request on its way to `to`: to be passed on, once or more often, or not at all.

    `on` passes a request with a body and headers on; `afterwards` has something done that nobody waits for.
    """

    to: Side
    request: web.Request = field(repr=False)
    body: bytes = field(repr=False)
    on: Callable[[web.Request, bytes, Mapping[str, str]], Awaitable[Answer]] = field(repr=False)
    afterwards: Callable[[Awaitable[Answer]], None] = field(repr=False)
    headers: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.headers = headers_of(self.request)

    @property
    def name(self) -> str:
        """Return the name of the call, or of the bus's road."""
        return self.request.path.rpartition("/")[2]

    @property
    def is_call(self) -> bool:
        """Tell whether it is a call of the protocol."""
        return self.name in CALLS

    @property
    def is_bus(self) -> bool:
        """Tell whether it moves bytes of normal memory."""
        return self.request.path.startswith(NORMAL_MEMORY_PATH)

    @property
    def call_id(self) -> str:
        """Return the id of the call, or nothing."""
        return self.request.headers.get(CALL_ID, "")

    @property
    def slot(self) -> str:
        """Return the session, depth, slot and number of the call, or nothing: a repeat has the same."""
        return self.request.headers.get(SLOT, "")

    @property
    def parent_id(self) -> str:
        """Return the id of the call that caused it, or nothing."""
        return self.request.headers.get(PARENT_ID, "")

    @cached_property
    def form(self) -> dict[str, Any]:
        """Return the JSON of a call as it came; nothing where there is none."""
        is_octets = self.request.headers.get("content-type", JSON).startswith(OCTETS)
        return {} if is_octets or not self.is_call else dict(json.loads(self.body))

    @cached_property
    def rows(self) -> list[tuple[int, int]]:
        """Return what a bus message moves: real addresses and lengths (bytes)."""
        start = COUNT if self.name == "write" else 0
        count = int.from_bytes(self.body[:COUNT], "little") if start else len(self.body) // ROW.size
        return list(ROW.iter_unpack(self.body[start : start + count * ROW.size]))

    async def forward(self) -> Answer:
        """Pass the request on, with headers and body as they are now, and return the answer."""
        return await self.on(self.request, self.body, self.headers)

    async def forward_anew(self) -> Answer:
        """Pass the request on as another message: without its slot it acts at each arrival."""
        bare = {name: text for name, text in self.headers.items() if name.lower() not in {SLOT, FINGERPRINT}}
        return await self.on(self.request, self.body, bare)
