"""Wiring of the Ultravisor: settings, bus, peer, routes. No rule of the protocol is here."""

import asyncio
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Annotated, Final

from fastapi import FastAPI, Response
from pydantic import Field, PlainValidator, SecretStr

from pef_kit.core.designs import require_registered
from pef_kit.core.effects import PeerFailure
from pef_kit.core.fence import Fence
from pef_kit.core.hello import Epochs
from pef_kit.runtime import openapi
from pef_kit.runtime.app import Service, json_response
from pef_kit.runtime.auth import Authenticator
from pef_kit.runtime.bus import Bus, HttpBus, MmapBus
from pef_kit.runtime.command_line import settings_of
from pef_kit.runtime.peer import Peer
from pef_kit.runtime.runner import EffectRunner
from pef_kit.runtime.serve import build_and_serve
from pef_kit.runtime.settings import GIBIBYTE, ServiceSettings
from pef_kit.runtime.trace import Observer
from pef_kit.runtime.views import LongViews, add_common_routes, add_gfn_view, add_long_views, add_view
from pef_kit.runtime.volume import Volume
from pef_protocol.calls import ULTRACALLS
from pef_protocol.designs import DesignName
from pef_protocol.events import Side
from pef_protocol.http import HELLO_PATH, Role
from pef_protocol.quantities import PAGE_ORDER
from pef_ultravisor import invariants, views
from pef_ultravisor.designs import DESIGNS
from pef_ultravisor.dispatch import ultracall
from pef_ultravisor.epoch import Reception, add_epoch_routes
from pef_ultravisor.routes.guest import add_guest_routes
from pef_ultravisor.state import Capacity, Ultravisor

THREADS: Final = 4
Registered = Annotated[DesignName, PlainValidator(partial(require_registered, DESIGNS))]


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
    allowed_designs: frozenset[Registered] = frozenset(map(DesignName, DESIGNS))
    """Designs that a Hypervisor may have: those of the discussion, and those that `PEF_DESIGNS` names."""


def build(settings: UltravisorSettings, entropy: Callable[[int], bytes] = secrets.token_bytes) -> FastAPI:
    """Make the service; `entropy(n)` gives n random bytes."""
    observer = Observer(Side.ULTRAVISOR, settings.log)
    observer.export_to(settings.otlp_endpoint, lambda lpid: views.design_of(uv, lpid))
    threads = ThreadPoolExecutor(THREADS, "pages")
    peer = Peer(
        "hypervisor",
        settings.peer_url,
        settings.ultravisor_token.get_secret_value(),
        connections=settings.peer_connections,
        timeout=settings.peer_timeout,
        new_id=partial(secrets.token_hex, 8),
        give_up=settings.give_up,
    )
    volume = Volume(settings.normal_memory, Side.ULTRAVISOR) if settings.normal_memory else None
    mapped = MmapBus(threads) if volume else None
    bus: Bus = mapped or HttpBus(peer, threads)
    capacity = Capacity(settings.secure_memory >> PAGE_ORDER, settings.normal_memory_size)
    kept = settings.machine_key.get_secret_value().encode() if settings.machine_key else None
    uv = Ultravisor(capacity, entropy, designs=settings.allowed_designs, machine_key=kept)
    uv.gfns_a_message = settings.gfns_a_message
    tokens = {Role.HYPERVISOR: settings.hypervisor_token, Role.OBSERVER: settings.observer_token}
    service = Service(
        Side.ULTRAVISOR,
        ULTRACALLS,
        partial(ultracall, uv),
        authenticator=Authenticator(
            {role: token.get_secret_value() for role, token in tokens.items()},
            settings.guest_key.get_secret_value(),
            uv.incarnation_of,
        ),
        perform=EffectRunner(peer, bus, threads, observer),
        observer=observer,
        read_timeout=settings.read_timeout,
        fence=Fence(),
        answer_within=settings.answer_within,
    )
    uv.at_end_of = service.clients.drop
    epochs = Epochs(uv.instance)
    observer.measure(lambda: views.measured(uv))
    add_common_routes(service)
    add_epoch_routes(Reception(service, uv, epochs, peer, mapped, volume))
    service.at_start(partial(say_that_we_start, peer))

    async def let_volume_go() -> None:
        if volume is not None:
            volume.close()

    service.at_end(let_volume_go)
    service.at_end(peer.close)
    service.at_end(observer.close)
    add_guest_routes(service, uv)
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


def add_views(service: Service, uv: Ultravisor) -> None:
    """Add what an observer may see: states and counts, never contents."""
    long_views = LongViews(service)

    async def vms() -> Response:
        """List all VMs with their slots, and what secure memory holds."""
        return json_response(views.vms(uv))

    add_view(service, "vms", vms, answer=openapi.ShownVms)
    add_gfn_view(service, long_views, lambda lpid: views.states_of(uv, lpid), views.gfns)
    add_long_views(
        service,
        long_views,
        uv.copied,
        lambda seen: seen.digest(),
        invariants.broken,
    )


def main() -> None:
    """Run the service until it is told to stop; `pef_ultravisor.start` prepares the process for it."""
    build_and_serve(build, settings_of(UltravisorSettings, "pef-ultravisor", sys.argv[1:]))
