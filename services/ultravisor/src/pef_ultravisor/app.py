"""Wiring of the Ultravisor: settings, bus, peer, routes. No rule of the protocol is here."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Annotated, Final

from fastapi import FastAPI, Request, Response
from pydantic import Field, SecretStr

from pef_kit.bus import Bus, MappedBus, OwnerBus
from pef_kit.clients import Check
from pef_kit.core.fence import Fence
from pef_kit.core.hello import Epochs
from pef_kit.doors import Doorkeeper, Problem, number
from pef_kit.http import Service, json_response
from pef_kit.observers import Observer
from pef_kit.operations import Operation, PeerFailure
from pef_kit.peer import Peer
from pef_kit.performer import Performer
from pef_kit.serving import build_and_serve
from pef_kit.settings import GIBIBYTE, ServiceSettings
from pef_kit.volume import Volume
from pef_protocol.calls import ULTRACALLS
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_ORDER, Gpa
from pef_protocol.wire import GUEST_PATH, HELLO_PATH, OCTETS, Role
from pef_ultravisor import invariants, views
from pef_ultravisor.access import AccessFailure
from pef_ultravisor.dispatch import guest_load, guest_store, ultracall
from pef_ultravisor.epoch import Reception, add_epoch_routes
from pef_ultravisor.state import Capacity, Ultravisor

LONGEST_ACCESS: Final = 16 << 20
BUSY: Final = "busy"
THREADS: Final = 4


class UltravisorSettings(ServiceSettings):
    """Settings of the Ultravisor."""

    secure_memory: int = Field(default=8 * GIBIBYTE, gt=0)
    """Bytes of secure memory that may be resident."""
    gfns_a_message: int = Field(default=0, ge=0)
    """Most GFNs that UV_ESM asks for in one message; 0: no bound. For measuring the history only."""
    give_up: float = Field(default=600.0, gt=0)
    """Seconds after which an SVM is aborted whose hypercall has no outcome."""
    machine_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    """What the machine's key pair is made of, so that images stay good; none: drawn anew at each start."""
    designs: frozenset[Design] = frozenset(Design)
    """Designs that a Hypervisor may have."""


def build(settings: UltravisorSettings, entropy: Callable[[int], bytes] = secrets.token_bytes) -> FastAPI:
    """Make the service; `entropy(n)` gives n random bytes."""
    observer = Observer(Side.ULTRAVISOR)
    threads = ThreadPoolExecutor(THREADS, "pages")
    peer = Peer(
        "hypervisor",
        settings.peer_url,
        settings.ultravisor_token.get_secret_value(),
        connections=settings.peer_connections,
        timeout=settings.peer_timeout,
        new_id=lambda: secrets.token_hex(8),
        give_up=settings.give_up,
    )
    volume = Volume(settings.normal_memory, Side.ULTRAVISOR) if settings.normal_memory else None
    mapped = MappedBus(threads) if volume else None
    bus: Bus = mapped or OwnerBus(peer, threads)
    capacity = Capacity(settings.secure_memory >> PAGE_ORDER, settings.normal_memory_size)
    kept = settings.machine_key.get_secret_value().encode() if settings.machine_key else None
    uv = Ultravisor(capacity, entropy, designs=settings.designs, machine_key=kept)
    uv.gfns_a_message = settings.gfns_a_message
    tokens = {Role.HYPERVISOR: settings.hypervisor_token, Role.OBSERVER: settings.observer_token}
    service = Service(
        Side.ULTRAVISOR,
        ULTRACALLS,
        partial(ultracall, uv),
        doorkeeper=Doorkeeper(
            {role: token.get_secret_value() for role, token in tokens.items()},
            settings.guest_key.get_secret_value(),
            uv.incarnation_of,
        ),
        perform=Performer(peer, bus, threads, observer),
        observer=observer,
        read_timeout=settings.read_timeout,
        fence=Fence(),
        answer_within=settings.answer_within,
    )
    uv.at_end_of = service.clients.drop
    epochs = Epochs(uv.instance)
    add_epoch_routes(Reception(service, uv, epochs, peer, mapped, volume))
    service.at_start(partial(say_that_we_start, peer))

    async def let_volume_go() -> None:
        if volume is not None:
            volume.close()

    service.at_end(let_volume_go)
    service.at_end(peer.close)
    add_guest_door(service, uv)
    add_views(service, uv)
    return service.app


async def say_that_we_start(peer: Peer) -> None:
    """Have a Hypervisor that runs already look at our epoch; whether it hears us or not."""

    async def say() -> None:
        with suppress(PeerFailure):
            await peer.exchange("POST", HELLO_PATH)

    _saying.add(task := asyncio.create_task(say()))
    task.add_done_callback(_saying.discard)


_saying: Final[set[asyncio.Task[None]]] = set()


def add_guest_door(service: Service, uv: Ultravisor) -> None:
    """Add the loads and stores of SVMs, and the machine's public key."""

    async def load(request: Request) -> Response:
        caller, lpid = service.doorkeeper.guest(request)
        gpa, length = Gpa(number(request, "gpa")), number(request, "length")
        if length > LONGEST_ACCESS:
            raise Problem(422, "Unprocessable Content", f"length: at most {LONGEST_ACCESS}", "length")

        async def loaded(current: Check) -> Response:
            try:
                content = await service.run(guest_load(uv, lpid, gpa, length), current)
            except AccessFailure as failure:
                return _refused(failure)
            return Response(content, media_type=OCTETS)

        return await service.as_guest(request, caller, b"", loaded, looks=True)

    async def store(request: Request) -> Response:
        caller, lpid = service.doorkeeper.guest(request)
        gpa = Gpa(number(request, "gpa"))
        content = await service.body(request, LONGEST_ACCESS)

        async def stored(current: Check) -> Response:
            try:
                await service.run(guest_store(uv, lpid, gpa, content), current)
            except AccessFailure as failure:
                return _refused(failure)
            return json_response({"access": "resolved"})

        return await service.as_guest(request, caller, content, stored)

    async def machine_key(_: Request) -> Response:
        key = uv.machine_key
        return json_response({"public_key": key.public_bytes.hex(), "key_id": key.key_id.hex()})

    service.post(GUEST_PATH + "load", load, reads=False)
    service.post(GUEST_PATH + "store", store)
    service.get("/v1/machine-key", machine_key, open_to_all=True)


def _refused(failure: AccessFailure) -> Response:
    shown = {"access": "refused", "reason": failure.reason, "gpa": failure.gpa}
    return json_response(shown, nothing_done=failure.reason == BUSY)


def add_views(service: Service, uv: Ultravisor) -> None:
    """Add what an observer may see: states and counts, never contents."""

    def gfns(request: Request) -> Operation[views.States]:
        return views.states_of(uv, number(request, "lpid"))

    service.view("vms", lambda _: views.vms(uv))
    service.long_view("gfns", gfns, views.gfns)
    service.long_view("digest", lambda _: uv.copied(), lambda seen: {"digest": seen.digest()}, whole=True)
    service.long_view(
        "invariants", lambda _: uv.copied(), lambda seen: {"broken": invariants.broken(seen)}, whole=True
    )


def main() -> None:
    """Run the service until it is told to stop; `pef_ultravisor.start` prepares the process for it."""
    build_and_serve(build, UltravisorSettings())
