"""Peers and services of tests: a peer whose connections end in an ASGI application of the same process."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx

from pef_kit.core.effects import Effect, Operation, PeerCall
from pef_kit.core.fence import Fence
from pef_kit.core.life import Life
from pef_kit.runtime.app import Service
from pef_kit.runtime.auth import Authenticator
from pef_kit.runtime.connections import transport_of
from pef_kit.runtime.peer import Peer
from pef_kit.runtime.trace import Observer
from pef_kit.runtime.views import add_common_routes
from pef_protocol.calls import CALLS, HYPERCALLS, ULTRACALLS, Reply
from pef_protocol.events import Side
from pef_protocol.http import Caller, Role
from pef_protocol.identity import Epoch, InstanceId

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKENS: Mapping[Role, str] = {
    role: f"the secret token of the {role}" for role in Role if role is not Role.GUEST
}
LIFE = Life("the epoch of the tests", epoch=Epoch(InstanceId("0" * 32), 1))
GUEST_KEY = "the secret key of this door's guests"
BODY_LIMIT = 1 << 12


def ids(prefix: str) -> Callable[[], str]:
    """Return a maker of call ids that anyone can foretell."""
    numbers = count(1)
    return lambda: f"{prefix}{next(numbers)}"


def new_peer(
    base_url: str,
    *,
    role: Role = Role.HYPERVISOR,
    connections: int = 4,
    timeout: float = 5.0,
    slots: bool = False,
    transport: Callable[[int], httpx.AsyncBaseTransport] = transport_of,
) -> Peer:
    """Make a peer that presents the token of `role`; nobody who answers it keeps answers unless told."""
    name = "ultravisor" if role is Role.HYPERVISOR else "hypervisor"
    peer = Peer(
        name,
        base_url,
        TOKENS[role],
        connections=connections,
        timeout=timeout,
        new_id=ids(name[0]),
        transport=transport,
    )
    peer.slots = slots
    return peer


def asked(name: str, request: object) -> PeerCall:
    """Return a call as an operation of the tests' epoch makes it."""
    return PeerCall(name, request, lives=(LIFE,))


def into(application: Application) -> Callable[[int], httpx.AsyncBaseTransport]:
    """Return what makes transports that end in `application`, which answers its own faults."""
    return lambda _: httpx.ASGITransport(application, raise_app_exceptions=False)


@asynccontextmanager
async def peer_of(
    application: Application, role: Role = Role.HYPERVISOR, *, time_limit: float = 5.0
) -> AsyncIterator[Peer]:
    """Give a peer whose connections end in `application`."""
    peer = new_peer("http://peer.test", role=role, timeout=time_limit, transport=into(application))
    yield peer
    await peer.close()


Toy = Callable[[Caller, str, Any], Operation[Reply]]


def succeed(_: Caller, name: str, __: Any) -> Operation[Reply]:
    """Answer any call with success."""
    yield from ()
    return Reply(CALLS[name].success)


async def no_effects(effect: Effect) -> Any:
    """Perform nothing: the toy was not to ask for anything."""
    raise AssertionError(effect)


def toy_service(
    answer: Toy = succeed,
    *,
    side: Side = Side.ULTRAVISOR,
    perform: Callable[[Effect], Awaitable[Any]] = no_effects,
) -> Service:
    """Make a service that answers the calls of a side by `answer`."""
    service = Service(
        side,
        ULTRACALLS if side is Side.ULTRAVISOR else HYPERCALLS,
        answer,
        authenticator=Authenticator(TOKENS, GUEST_KEY),
        perform=perform,
        observer=Observer(side),
        fence=Fence(life=LIFE),
    )
    add_common_routes(service)
    return service


@asynccontextmanager
async def visitor(service: Service, token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a service; `token` is presented with each request."""
    transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    headers["pef-epoch"] = str(LIFE.epoch)
    async with httpx.AsyncClient(transport=transport, base_url="http://door.test", headers=headers) as client:
        yield client


def pieces_of(content: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    """Cut `content` into pieces of the sizes given, in turn."""
    at = 0
    while at < len(content):
        size = next(sizes)
        yield content[at : at + size]
        at += size
