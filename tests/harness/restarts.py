"""Both services as processes that a test kills, stops and starts again, with go-betweens that stay."""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx

from harness.live_vm import MEMORY
from pef_lab.between.script import ScriptedBetween
from pef_lab.endpoint import Endpoint
from pef_lab.endpoints import Endpoints
from pef_lab.guest import Guest
from pef_lab.hostile.victim import small_image
from pef_lab.image import GuestImage
from pef_lab.pair import SHARED_MEMORY
from pef_lab.service_process import READY, ServiceProcess
from pef_lab.starting import (
    HYPERVISOR_SCRIPT,
    ULTRAVISOR_SCRIPT,
    fresh_endpoints,
    hypervisor_environment,
    ultravisor_environment,
)
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.events import Side
from pef_protocol.http import EPOCH_PATH
from pef_protocol.quantities import Lpid

SECURE_MEMORY: Final = 64 << 20
NORMAL_MEMORY: Final = 1 << 30
SCRIPTS: Final = {Side.ULTRAVISOR: ULTRAVISOR_SCRIPT, Side.HYPERVISOR: HYPERVISOR_SCRIPT}


@dataclass
class Restartable:
    """A pair whose processes come and go; `memory` is the directory of normal memory, or None over HTTP."""

    endpoints: Endpoints
    memory: Path | None
    directory: Path
    to_ultravisor: ScriptedBetween
    to_hypervisor: ScriptedBetween
    vmm: Vmm
    watch: Watch
    running: dict[Side, ServiceProcess] = field(default_factory=dict)
    others: list[ServiceProcess] = field(default_factory=list)

    def variables(self, side: Side, port: int | None = None) -> dict[str, str]:
        """Return what a side is told; a second Hypervisor listens on another `port`."""
        memory = str(self.memory or "")
        if side is Side.ULTRAVISOR:
            reported = ultravisor_environment(
                self.endpoints,
                peer_url=self.to_hypervisor.url,
                normal_memory=memory,
                secure_memory=SECURE_MEMORY,
            )
        else:
            reported = hypervisor_environment(
                self.endpoints,
                peer_url=self.to_ultravisor.url,
                normal_memory=memory,
                secure_memory=SECURE_MEMORY,
            )
        size = {"PEF_NORMAL_MEMORY_SIZE": str(NORMAL_MEMORY), "PEF_PEER_TIMEOUT": "5"}
        return reported | size | ({"PEF_PORT": str(port)} if port else {})

    def start(self, side: Side) -> None:
        """Start a side."""
        log = self.directory / f"{side}-{secrets.token_hex(4)}.log"
        self.running[side] = ServiceProcess(SCRIPTS[side], self.variables(side), log)

    def start_another_hypervisor(self, port: int) -> ServiceProcess:
        """Start a second Hypervisor, on a port of its own."""
        log = self.directory / f"another-{secrets.token_hex(4)}.log"
        other = ServiceProcess(HYPERVISOR_SCRIPT, self.variables(Side.HYPERVISOR, port), log)
        self.others.append(other)
        return other

    def kill(self, side: Side) -> None:
        """End a side at once, whatever it is at."""
        process = self.running.pop(side)
        os.kill(process.pid, signal.SIGKILL)
        process.stop()

    async def ready(self, *sides: Side) -> None:
        """Wait until sides have an epoch."""
        urls = {
            Side.ULTRAVISOR: self.endpoints.ultravisor_url,
            Side.HYPERVISOR: self.endpoints.hypervisor_url,
        }
        for side in sides or Side:
            await self.running[side].until_ready(urls[side])

    async def epoch(self) -> dict[str, Any]:
        """Return the current epoch and who owns it."""
        keys = self.endpoints
        async with Endpoint("Ultravisor", keys.ultravisor_url, keys.observer_token) as endpoint:
            return dict(await endpoint.view(EPOCH_PATH))

    async def image(self) -> GuestImage:
        """Return a small image for this machine."""
        return small_image(await self.watch.machine_public_key(), b"key")

    def stop(self) -> None:
        """End whatever runs, stopped or not."""
        for process in (*self.running.values(), *self.others):
            if not process.ended:
                os.kill(process.pid, signal.SIGCONT)
            process.ask_to_stop()
        for process in (*self.running.values(), *self.others):
            process.stop()


@asynccontextmanager
async def restartable(*, mapped: bool = True) -> AsyncIterator[Restartable]:
    """Start a pair, and end it whatever a test has done with it."""
    directory = Path(tempfile.mkdtemp(prefix="pef-restarts-"))
    memory = SHARED_MEMORY / f"pef-restarts-{secrets.token_hex(8)}" if mapped else None
    if memory:
        memory.mkdir(mode=0o700)
    endpoints = fresh_endpoints()
    try:
        async with AsyncExitStack() as stack:
            to_ultravisor = await stack.enter_async_context(ScriptedBetween(Side.ULTRAVISOR))
            to_hypervisor = await stack.enter_async_context(ScriptedBetween(Side.HYPERVISOR))
            to_ultravisor.upstream = endpoints.ultravisor_url
            to_hypervisor.upstream = endpoints.hypervisor_url
            vmm = await stack.enter_async_context(Vmm(endpoints))
            watch = await stack.enter_async_context(Watch(endpoints))
            pair = Restartable(endpoints, memory, directory, to_ultravisor, to_hypervisor, vmm, watch)
            stack.callback(pair.stop)
            for side in Side:
                pair.start(side)
            await pair.ready()
            yield pair
    finally:
        for left in (directory, memory):
            if left:
                shutil.rmtree(left, ignore_errors=True)


@asynccontextmanager
async def guest_of(endpoints: Endpoints, vmm: Vmm) -> AsyncIterator[Guest]:
    """Create a normal VM and enter it; nobody destroys it."""
    lpid = await vmm.create(Design.TRACKED)
    await vmm.plug(lpid, 0, 0, MEMORY)
    async with Guest(endpoints, Lpid(lpid)) as guest:
        yield guest


async def make_secure(guest: Guest, vmm: Vmm, image: GuestImage) -> None:
    """Load an image and make UV_ESM."""
    for gpa, content in image.layout:
        await vmm.write(guest.lpid, gpa, content)
    reply = await guest.enter_secure_mode(image.kernel_base, image.fdt_address)
    assert reply.code is UCode.U_SUCCESS, reply


def at_port(endpoints: Endpoints, port: int) -> Endpoints:
    """Return the endpoints of a pair whose Hypervisor is another one."""
    return replace(endpoints, hypervisor_url=f"http://127.0.0.1:{port}")


async def why_not_ready(url: str, word: str) -> str:
    """Ask until a service says that it is not ready for a reason that has `word`, and return that."""
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            answer = await client.get(url + READY)
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and word in answer.text:
                return answer.text


__all__ = [
    "Restartable",
    "at_port",
    "guest_of",
    "make_secure",
    "restartable",
    "why_not_ready",
]
