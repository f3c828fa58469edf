"""The Hypervisor as a service: wiring only."""

import os
import secrets
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request, Response
from pydantic import Field

from pef_hypervisor import views
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.doors.bus import OwnBus, add_bus_door
from pef_hypervisor.doors.guest import add_guest_door
from pef_hypervisor.doors.vmm import add_vmm_door
from pef_hypervisor.invariants import broken
from pef_hypervisor.link import Link
from pef_kit.bus import NormalMemory
from pef_kit.core.fence import Fence
from pef_kit.doors import Doorkeeper, number
from pef_kit.http import Service
from pef_kit.observers import Observer
from pef_kit.operations import Operation
from pef_kit.peer import Peer
from pef_kit.performer import Performer
from pef_kit.serving import build_and_serve
from pef_kit.settings import GIBIBYTE, ServiceSettings, Token
from pef_kit.volume import Volume
from pef_protocol.calls import HYPERCALLS
from pef_protocol.events import Side
from pef_protocol.identity import instance_of
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.wire import HELLO_PATH, Role


class Settings(ServiceSettings):
    """What the Hypervisor is told beside what both are; sizes in bytes."""

    vmm_token: Token
    secure_memory: int = Field(default=8 * GIBIBYTE, ge=0)
    """The host's secure memory: it has a device page for each page of it, or `device_pages`."""
    device_pages: int | None = Field(default=None, ge=0)


def build(settings: Settings) -> FastAPI:
    """Return the service as an application; its normal memory begins empty."""
    instance = instance_of(secrets.token_bytes(16))
    size = settings.normal_memory_size
    volume = Volume(settings.normal_memory, Side.HYPERVISOR) if settings.normal_memory else None
    memory = volume.create(instance, size) if volume else NormalMemory.unshared(size)
    pages = settings.secure_memory // PAGE_SIZE if settings.device_pages is None else settings.device_pages
    hypervisor = Hypervisor(memory, device_pages=pages, digest_key=secrets.token_bytes(32), instance=instance)
    observer = Observer(Side.HYPERVISOR)
    threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="work")
    fence = Fence()
    peer = Peer(
        "ultravisor",
        settings.peer_url,
        settings.hypervisor_token.get_secret_value(),
        connections=settings.peer_connections,
        timeout=settings.peer_timeout,
        new_id=lambda: secrets.token_hex(8),
        other_epoch=lambda: link.doubt(),  # noqa: PLW0108 - the link is made below, of this peer
    )
    bus = OwnBus(memory, threads)
    service = Service(
        Side.HYPERVISOR,
        HYPERCALLS,
        hypervisor.hypercall,
        doorkeeper=Doorkeeper(
            {
                Role.ULTRAVISOR: settings.ultravisor_token.get_secret_value(),
                Role.VMM: settings.vmm_token.get_secret_value(),
                Role.OBSERVER: settings.observer_token.get_secret_value(),
            },
            settings.guest_key.get_secret_value(),
            hypervisor.incarnation_of,
        ),
        perform=Performer(peer, bus, threads, observer),
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
    add_vmm_door(service, hypervisor)
    add_guest_door(service, hypervisor)
    add_bus_door(service, hypervisor.store.memory, bus)
    add_hint_route(service, link)
    add_views(service, hypervisor)

    async def stop_threads() -> None:
        threads.shutdown(wait=False)
        if volume:
            volume.remove(instance)
            volume.close()

    service.at_end(stop_threads)
    service.at_end(peer.close)
    return service.app


def add_hint_route(service: Service, link: Link) -> None:
    """Add the route by which an Ultravisor that starts says so: a hint to look at its epoch."""

    async def hint(request: Request) -> Response:
        service.doorkeeper.admit(request, Role.ULTRAVISOR)
        link.doubt()
        return Response(status_code=204)

    service.post(HELLO_PATH, hint, reads=False)


def add_views(service: Service, hypervisor: Hypervisor) -> None:
    """Add what the observer may see."""
    store = hypervisor.store

    def gfns(request: Request) -> Operation[views.States]:
        return views.states_of(store, number(request, "lpid"))

    service.view("vms", lambda _: hypervisor.vms())
    service.long_view("gfns", gfns, views.gfns)
    service.long_view("digest", lambda _: store.copied(), lambda seen: {"digest": seen.digest()}, whole=True)
    service.long_view(
        "invariants", lambda _: store.copied(), lambda seen: {"broken": broken(seen)}, whole=True
    )


def main() -> None:
    """Run the service until it is told to stop."""
    build_and_serve(build, Settings())
