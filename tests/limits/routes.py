"""Every route of both services, who may use it, and how long a body it may have."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.routing import Route

from pef_hypervisor.app import Settings as HypervisorSettings
from pef_hypervisor.app import build as build_hypervisor
from pef_protocol.auth import mint_guest_token
from pef_protocol.calls import CALLS
from pef_protocol.http import (
    EPOCH,
    EPOCH_PATH,
    GUEST_PATH,
    GUESTS_PATH,
    HELLO_PATH,
    JSON,
    NORMAL_MEMORY_PATH,
    OBSERVER_PATH,
    OCTETS,
    VMM_PATH,
)
from pef_protocol.identity import Epoch, InstanceId
from pef_protocol.quantities import Lpid
from pef_ultravisor.app import UltravisorSettings
from pef_ultravisor.app import build as build_ultravisor

SMALL: Final = 4 << 10
RUNS_IN_JSON: Final = 64 << 10
MEMORY: Final = 16 << 20
MOST_RUNS: Final = 2 << 20
"""Bytes of runs that one message may have as octets, at most."""
OPEN: Final = frozenset({"/", "/livez", "/readyz", "/v1/version", "/v1/machine-key", "/openapi.json"})
"""Routes for which nobody needs a token."""
NAMES: Final = {"lpid": "1", "slotid": "0", "name": "UV_NO_SUCH_CALL"}
QUERY: Final = {"gpa": "65536", "length": "16", "lpid": "1", "flags": "0", "order": "16", "after": "0"}
GUEST_KEY: Final = secrets.token_hex(16)
TOKENS: Final = {name: secrets.token_hex(16) for name in ("ultravisor", "hypervisor", "observer", "vmm")}
TOKENS_OF_ALL: Final = TOKENS | {"guest": mint_guest_token(GUEST_KEY, Lpid(1))}


CURRENT: Final = Epoch(InstanceId("0" * 32), 1)


@dataclass(frozen=True, slots=True)
class Body:
    """A kind of body of a route: its media type, what it may have (bytes), and the query beside it."""

    kind: str
    media: str
    most: int
    query: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """A route of an application, by one who may use it."""

    app: FastAPI = field(repr=False)
    method: str
    path: str
    role: str
    body: Body

    @property
    def name(self) -> str:
        """Return how people call it."""
        return f"{self.method} {self.path} ({self.body.kind})"


@dataclass(slots=True)
class Seen:
    """What came of a request: its status, how many bytes of the body were read, whether it asked for any."""

    status: int = 0
    read: int = 0
    asked: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def applications() -> tuple[FastAPI, FastAPI]:
    """Return both services in an epoch, each with no peer to speak to and no VM."""
    common: dict[str, Any] = {
        **{f"{name}_token": token for name, token in TOKENS.items() if name != "vmm"},
        "guest_key": GUEST_KEY,
        "peer_url": "http://127.0.0.1:9",
        "normal_memory_size": 1 << 30,
        "secure_memory": 1 << 30,
    }
    built = (
        build_ultravisor(UltravisorSettings(**common)),
        build_hypervisor(HypervisorSettings(**common, vmm_token=SecretStr(TOKENS["vmm"]))),
    )
    for app in built:
        app.state.service.fence.begin(CURRENT)
    return built


def role_of(path: str, peer: str) -> str:
    """Return who may use a path of a service whose peer is `peer`."""
    call = CALLS.get(path.rpartition("/")[2])
    if call is not None:
        return next(iter(sorted(call.callers))).value
    for start, role in (
        (VMM_PATH, "vmm"),
        (GUEST_PATH, "guest"),
        (NORMAL_MEMORY_PATH, "ultravisor"),
        (OBSERVER_PATH, "observer"),
        (GUESTS_PATH, "observer"),
        ("/metrics", "observer"),
        (HELLO_PATH, peer),
        (EPOCH_PATH, peer),
    ):
        if path.startswith(start):
            return role
    return "guest"


def bodies_of(path: str, method: str) -> Iterator[Body]:
    """Yield each kind of body of a route."""
    call = CALLS.get(path.rpartition("/")[2])
    if call is not None and call.runs is not None:
        query = "&".join(f"{name}={QUERY[name]}" for name in call.arguments if name != "runs")
        yield Body("JSON with runs", JSON, RUNS_IN_JSON)
        yield Body("octets of runs", OCTETS, MOST_RUNS, query)
    elif path == GUEST_PATH + "store" or path.endswith("/write"):
        of_bus = path.startswith(NORMAL_MEMORY_PATH)
        yield Body("octets of memory", OCTETS, MOST_RUNS if of_bus else MEMORY, "gpa=65536")
    elif path in {NORMAL_MEMORY_PATH + "read", NORMAL_MEMORY_PATH + "zero"}:
        yield Body("octets of runs", OCTETS, MOST_RUNS)
    elif call is not None:
        yield Body("JSON without runs", JSON, SMALL)
    else:
        yield Body("JSON" if method == "POST" else "no body", JSON, SMALL, "gpa=65536&length=16&lpid=1")


def visits() -> list[Visit]:
    """Return every route with every kind of its bodies."""
    found: list[Visit] = []
    for app, peer in zip(applications(), ("hypervisor", "ultravisor"), strict=True):
        for route in app.routes:
            if not isinstance(route, Route):
                continue
            path = route.path
            for name, value in NAMES.items():
                path = path.replace("{" + name + "}", value)
            for method in sorted((route.methods or set()) - {"HEAD"}):
                role = role_of(path, peer)
                found += [Visit(app, method, path, role, body) for body in bodies_of(path, method)]
    return found


async def made(
    visit: Visit,
    pieces: Callable[[], AsyncIterator[bytes]],
    *,
    length: int | None = None,
    token: bool = True,
    epoch: str = str(CURRENT),
    headers: tuple[tuple[str, str], ...] = (),
) -> Seen:
    """Make a request whose body are `pieces`, announced as `length` bytes or chunked; say what was seen."""
    seen = Seen()
    sent = [("content-type", visit.body.media), (EPOCH, epoch), *headers]
    if token:
        sent.append(("authorization", f"Bearer {TOKENS_OF_ALL[visit.role]}"))
    sent.append(("transfer-encoding", "chunked") if length is None else ("content-length", str(length)))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": visit.method,
        "scheme": "http",
        "path": visit.path,
        "raw_path": visit.path.encode(),
        "query_string": visit.body.query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in sent],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    content = pieces()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        if seen.status:
            return {"type": "http.disconnect"}
        seen.asked = True
        piece = await anext(content, None)
        if piece is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        seen.read += len(piece)
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.status = message["status"]
            seen.headers = {name.decode(): value.decode() for name, value in message["headers"]}

    await visit.app(scope, receive, send)
    return seen
