"""A message on its way from one service to the other, and what was answered to it."""

import json
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from aiohttp import web

from pef_protocol.calls import CALLS
from pef_protocol.events import Side
from pef_protocol.wire import CALL_ID, JSON, NORMAL_MEMORY_PATH, OCTETS, PARENT_ID

ROW: Final = struct.Struct("<QQ")
"""A row of a bus message: real address and length (bytes)."""
COUNT: Final = 8
"""Bytes before the rows of a bus message that writes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered; `headers` are for whoever keeps them, and are not passed back."""

    status: int
    media: str
    content: bytes = field(repr=False)
    headers: str = field(default="", repr=False)

    @property
    def code(self) -> str:
        """Return the name of the code; `nothing` where it is no answer of the protocol."""
        try:
            return str(json.loads(self.content)["code"]["name"])
        except (ValueError, KeyError, TypeError):
            return "nothing"

    @property
    def refused(self) -> list[tuple[int, int, int]]:
        """Return the runs that were refused: guest address, pages, number of the code."""
        try:
            return [(gpa, count, number) for gpa, count, number in json.loads(self.content)["refused"]]
        except (ValueError, KeyError, TypeError):
            return []

    def response(self) -> web.Response:
        """Return the answer as it is passed back."""
        return web.Response(status=self.status, body=self.content, headers={"content-type": self.media})


@dataclass
class Passing:
    """A request on its way to `to`: to be passed on, once or more often, or not at all.

    `on` passes a request with a body on; `afterwards` has something done that nobody waits for.
    """

    to: Side
    request: web.Request = field(repr=False)
    body: bytes = field(repr=False)
    on: Callable[[web.Request, bytes], Awaitable[Answer]] = field(repr=False)
    afterwards: Callable[[Awaitable[Answer]], None] = field(repr=False)

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
        """Pass the request on, with the body as it is now, and return the answer."""
        return await self.on(self.request, self.body)
