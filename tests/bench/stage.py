"""The stage of the benchmarks: one event loop, pairs of processes, VMs ready to become secure."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pef_kit.runtime.settings import MEBIBYTE
from pef_lab.endpoint import Endpoint
from pef_lab.guest import Guest
from pef_lab.image import GuestImage, build_image
from pef_lab.pair import Pair, PairPlan, started
from pef_lab.ports import free_ports
from pef_lab.service_process import READY, _is_ready
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.auth import mint_guest_token
from pef_protocol.designs import Design
from pef_protocol.http import EPOCH_PATH, Role
from pef_protocol.quantities import Gpa, Lpid
from pef_protocol.ultracalls import Esm

T = TypeVar("T")
EMPTY_PAIR = Path(__file__).with_name("empty_pair.py")


class Stage:
    """Runs coroutines of benchmarks, which are not async themselves, on one loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.run = runner.run

    @contextmanager
    def entered(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter an async context for the length of a benchmark."""
        value: T = self.run(_call(context.__aenter__()))
        try:
            yield value
        finally:
            self.run(_call(context.__aexit__(None, None, None)))


async def _call(awaited: Any) -> Any:
    return await awaited


class Yard:
    """A running pair and everything that makes VMs in it."""

    def __init__(self, pair: Pair, vmm: Vmm, watch: Watch, size: int, key: bytes) -> None:
        self.pair = pair
        self.vmm = vmm
        self.watch = watch
        self.size = size
        self.image: GuestImage = build_image(
            memory_size=size, machine_public_key=key, bootargs="bench", files={}, seed=1
        )
        self._guests: list[Guest] = []

    async def boot(self, design: Design) -> Guest:
        """Return the guest of a new normal VM with its image loaded."""
        lpid = await self.vmm.create(design)
        await self.vmm.plug(lpid, 0, 0, self.size)
        for piece in self.image.layout:
            await self.vmm.write(lpid, piece.gpa, piece.content)
        guest = await Guest(self.pair.endpoints, lpid).__aenter__()
        self._guests.append(guest)
        return guest

    async def enter(self, guest: Guest) -> None:
        """Make a guest secure."""
        reply = await guest.enter_secure_mode(self.image.kernel_base, self.image.fdt_address)
        assert reply.code.succeeded, reply

    async def clear(self) -> None:
        """Destroy all VMs."""
        for guest in self._guests:
            await self.vmm.destroy(guest.lpid)
            await guest.__aexit__(None, None, None)
        self._guests.clear()

    async def as_hypervisor(self) -> Endpoint:
        """Return the Ultravisor's door for one who plays the Hypervisor."""
        where, token = self.pair.endpoints.ultravisor_url, self.pair.visor_tokens[Role.HYPERVISOR]
        async with Endpoint("Ultravisor", where, token) as endpoint:
            epoch = str((await endpoint.view(EPOCH_PATH))["epoch"])
        return Endpoint("Ultravisor", where, token, epoch)


@asynccontextmanager
async def yard(plan: PairPlan, size: int) -> AsyncIterator[Yard]:
    """Start a pair for VMs of `size` bytes."""
    async with started(plan) as pair, Vmm(pair.endpoints) as vmm, Watch(pair.endpoints) as watch:
        made = Yard(pair, vmm, watch, size, await watch.machine_public_key())
        try:
            yield made
        finally:
            await made.clear()


@asynccontextmanager
async def empty_pair() -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Start the empty pair and yield a function that makes its UV_ESM."""
    ports = dict(zip(("ultravisor", "hypervisor"), free_ports(2), strict=True))
    key = secrets.token_hex(32)
    common = {
        f"PEF_{name}": secrets.token_hex(32)
        for name in ("ULTRAVISOR_TOKEN", "HYPERVISOR_TOKEN", "OBSERVER_TOKEN")
    }
    processes = []
    for side, other in (("ultravisor", "hypervisor"), ("hypervisor", "ultravisor")):
        variables = {
            "PEF_PORT": str(ports[side]),
            "PEF_PEER_URL": f"http://127.0.0.1:{ports[other]}",
            "PEF_GUEST_KEY": key,
        }
        environment = os.environ | common | variables
        command = [sys.executable, str(EMPTY_PAIR), side]
        processes.append(subprocess.Popen(command, env=environment))  # noqa: ASYNC220 - it starts at once
    endpoint = Endpoint("empty", f"http://127.0.0.1:{ports['ultravisor']}", mint_guest_token(key, Lpid(1)))
    try:
        for port in ports.values():
            other_endpoint = Endpoint("empty", f"http://127.0.0.1:{port}", key)
            while not await _is_ready(other_endpoint._client, READY):  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(0.02)
            await other_endpoint.close()

        async def empty_esm() -> None:
            reply = await endpoint.call("UV_ESM", Esm(Gpa(1 << 16), Gpa(8)))
            assert reply.code.succeeded

        yield empty_esm
    finally:
        await endpoint.close()
        for process in processes:
            process.terminate()
            process.wait()


SMALLEST = 64 * MEBIBYTE
