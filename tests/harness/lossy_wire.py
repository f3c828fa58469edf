"""A peer whose requests and answers are lost, late or answered by somebody else on their way."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from harness.in_process import Application, Receive, Scope, Send, into, new_peer, toy_service
from pef_kit.core.effects import Operation
from pef_kit.runtime.peer import Peer
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller

Fault = Callable[[Application, Scope, Receive, Send], Any]


class Wire:
    """The way to a service, on which the next requests are treated as a test says, and then none."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.faults: list[Fault] = []
        self.slots: list[str] = []
        """The header `pef-slot` of each request, in order."""
        self.bodies: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.slots.append(headers.get("pef-slot", ""))
        self.bodies.append(int(headers.get("content-length", "0")))
        if self.faults:
            await self.faults.pop(0)(self._application, scope, receive, send)
            return
        await self._application(scope, receive, send)


async def request_lost(_: Application, __: Scope, ___: Receive, ____: Send) -> None:
    """Lose the request."""
    raise httpx.ConnectError("lost")


async def answer_lost(application: Application, scope: Scope, receive: Receive, _: Send) -> None:
    """Have the request done, and lose its answer."""

    async def nowhere(_: Any) -> None:
        return

    await application(scope, receive, nowhere)
    raise httpx.ReadError("lost")


def says(status: int, body: bytes) -> Fault:
    """Let somebody else answer."""

    async def answer(_: Application, __: Scope, ___: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return answer


class Counting:
    """A side that counts what it does."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, _: Caller, __: str, ___: Any) -> Operation[Reply]:
        self.done += 1
        yield from ()
        return Reply(UCode.U_SUCCESS)


@asynccontextmanager
async def reached(answer: Any = None, **options: Any) -> AsyncIterator[tuple[Peer, Wire, Counting]]:
    """Give a peer with slots, the wire to its service, and what the service counts."""
    counting = Counting()
    wire = Wire(toy_service(answer or counting).app)
    peer = new_peer("http://peer.test", slots=True, transport=into(wire))
    for name, value in options.items():
        setattr(peer, name, value)
    yield peer, wire, counting
    await peer.close()
