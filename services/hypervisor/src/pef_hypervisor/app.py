"""The Hypervisor as a service: wiring only."""

import os
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from fastapi import FastAPI, Response
from pydantic import Field

from pef_hypervisor import views
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.epoch import Link
from pef_hypervisor.invariants import broken
from pef_hypervisor.routes.bus import OwnBus, add_bus_routes
from pef_hypervisor.routes.guest import add_guest_routes
from pef_hypervisor.routes.vmm import add_vmm_routes
from pef_kit.core.fence import Fence
from pef_kit.runtime import openapi
from pef_kit.runtime.app import Service, json_response
from pef_kit.runtime.auth import Authenticator
from pef_kit.runtime.bus import NormalMemory
from pef_kit.runtime.command_line import settings_of
from pef_kit.runtime.peer import Peer
from pef_kit.runtime.runner import EffectRunner
from pef_kit.runtime.serve import build_and_serve
from pef_kit.runtime.settings import GIBIBYTE, ServiceSettings, Token
from pef_kit.runtime.trace import Observer
from pef_kit.runtime.views import LongViews, add_common_routes, add_gfn_view, add_long_views, add_view
from pef_kit.runtime.volume import Volume
from pef_protocol.calls import HYPERCALLS
from pef_protocol.events import Side
from pef_protocol.http import HELLO_PATH, Role
from pef_protocol.identity import instance_of
from pef_protocol.quantities import PAGE_SIZE


class Settings(ServiceSettings):
    """What the Hypervisor is told beside what both are; sizes in bytes."""

    vmm_token: Token
    """Token of the VMM; at least 16 visible ASCII characters."""
    secure_memory: int = Field(default=8 * GIBIBYTE, ge=0)
    """Bytes of the host's secure memory: a device page is kept for each page of it."""
    device_pages: int | None = Field(default=None, ge=0)
    """Number of device pages; none: as many as secure memory has pages."""


def build(settings: Settings) -> FastAPI:
    """Return the service as an application; its normal memory begins empty."""
    observer = Observer(Side.HYPERVISOR, settings.log)
    # Order: before the file of normal memory is made, for this may refuse to start.
    observer.export_to(settings.otlp_endpoint, lambda lpid: views.design_of(hypervisor.store, lpid))
    instance = instance_of(secrets.token_bytes(16))
    size = settings.normal_memory_size
    volume = Volume(settings.normal_memory, Side.HYPERVISOR) if settings.normal_memory else None
    memory = volume.create(instance, size) if volume else NormalMemory.unshared(size)
    pages = settings.secure_memory // PAGE_SIZE if settings.device_pages is None else settings.device_pages
    hypervisor = Hypervisor(memory, device_pages=pages, digest_key=secrets.token_bytes(32), instance=instance)
    threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="work")
    fence = Fence()
    peer = Peer(
        "ultravisor",
        settings.peer_url,
        settings.hypervisor_token.get_secret_value(),
        connections=settings.peer_connections,
        timeout=settings.peer_timeout,
        new_id=partial(secrets.token_hex, 8),
        other_epoch=lambda: link.doubt(),  # noqa: PLW0108 - the link is made below, of this peer
    )
    bus = OwnBus(memory, threads)
    service = Service(
        Side.HYPERVISOR,
        HYPERCALLS,
        hypervisor.hypercall,
        authenticator=Authenticator(
            {
                Role.ULTRAVISOR: settings.ultravisor_token.get_secret_value(),
                Role.VMM: settings.vmm_token.get_secret_value(),
                Role.OBSERVER: settings.observer_token.get_secret_value(),
            },
            settings.guest_key.get_secret_value(),
            hypervisor.incarnation_of,
        ),
        perform=EffectRunner(peer, bus, threads, observer),
        observer=observer,
        read_timeout=settings.read_timeout,
        fence=fence,
        answer_within=settings.answer_within,
    )
    hypervisor.store.at_end_of = service.clients.drop
    file = {"name": volume.name_of(instance), "size": size} if volume else None

    def joined() -> None:
        if volume:
            volume.remove_others(instance)

    link = Link(service, hypervisor, peer, instance, file, joined)
    service.at_start(link.start)
    service.at_end(link.stop)
    observer.measure(lambda: views.measured(hypervisor.store))
    add_common_routes(service)
    add_hint_route(service, link)
    add_vmm_routes(service, hypervisor)
    add_guest_routes(service, hypervisor)
    add_bus_routes(service, hypervisor.store.memory, bus)
    add_views(service, hypervisor)

    async def stop_threads() -> None:
        threads.shutdown(wait=False)
        if volume:
            volume.remove(instance)
            volume.close()

    service.at_end(stop_threads)
    service.at_end(peer.close)
    service.at_end(observer.close)
    return service.app


def add_hint_route(service: Service, link: Link) -> None:
    """Add the route by which an Ultravisor that starts says so."""

    async def hint() -> Response:
        """Have the Hypervisor read the Ultravisor's epoch again: a hint that it may be another one."""
        link.doubt()
        return Response(status_code=204)

    service.add("POST", HELLO_PATH, hint, Role.ULTRAVISOR, tag=openapi.BETWEEN, status_code=204)


def add_views(service: Service, hypervisor: Hypervisor) -> None:
    """Add what the observer may see."""
    store, long_views = hypervisor.store, LongViews(service)

    async def vms() -> Response:
        """List all VMs with their slots, and the pool of device pages."""
        return json_response(hypervisor.vms())

    add_view(service, "vms", vms, answer=openapi.ShownVms)
    add_gfn_view(service, long_views, lambda lpid: views.states_of(store, lpid), views.gfns)
    add_long_views(service, long_views, store.copied, lambda seen: seen.digest(), broken)


def main() -> None:
    """Run the service until it is told to stop; `pef_hypervisor.start` prepares the process for it."""
    build_and_serve(build, settings_of(Settings, "pef-hypervisor", sys.argv[1:]))
