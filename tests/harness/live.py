"""A live pair: both services as processes, go-betweens on the wire between them, and every token.

The test holds the Hypervisor's token, so it can do what a hostile Hypervisor does behind an honest one's
back: make ultracalls of its own, and read and write normal memory, which is the Hypervisor's.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from pef_kit.runtime.bus import NORMAL_BASE
from pef_lab.between.script import Exchange, ScriptedBetween
from pef_lab.endpoint import Endpoint
from pef_lab.endpoints import Endpoints
from pef_lab.hostile.requests import NAMES
from pef_lab.pair import SHARED_MEMORY
from pef_lab.ports import free_ports
from pef_lab.service_process import ServiceProcess
from pef_lab.starting import HYPERVISOR_SCRIPT, ULTRAVISOR_SCRIPT
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.http import EPOCH_PATH, OBSERVER_PATH
from pef_protocol.quantities import PAGE_SIZE, pages_in

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LivePlan:
    """What pair to start. `mapped`: the Ultravisor maps normal memory, else it comes over HTTP."""

    secure_memory: int = 256 * MIB
    normal_memory_size: int = 1 << 30
    mapped: bool = True
    between: bool = True
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LivePair:
    """A running pair; `endpoints` are the services' own, past the go-betweens."""

    plan: LivePlan
    endpoints: Endpoints
    ultravisor: ServiceProcess
    hypervisor: ServiceProcess
    normal_memory: Path
    to_hypervisor: ScriptedBetween
    to_ultravisor: ScriptedBetween
    as_hypervisor: Endpoint
    as_ultravisor: Endpoint
    observers: tuple[Endpoint, Endpoint]
    vmm: Vmm
    watch: Watch
    tokens: Mapping[str, str] = field(repr=False)
    epoch: str

    async def ultracall(self, request: object) -> Reply:
        """Make an ultracall as the Hypervisor, behind the honest one's back."""
        return await self.as_hypervisor.call(NAMES[type(request)], request)

    async def hypercall(self, request: object) -> Reply:
        """Make a hypercall as the Ultravisor."""
        return await self.as_ultravisor.call(NAMES[type(request)], request)

    async def digests(self) -> tuple[str, ...]:
        """Return the digests of both sides."""
        return tuple(
            [(await endpoint.view(OBSERVER_PATH + "digest"))["digest"] for endpoint in self.observers]
        )

    async def broken(self) -> list[str]:
        """Return what either side says is broken of its own invariants."""
        return [
            f"{endpoint.name}: {sentence}"
            for endpoint in self.observers
            for sentence in (await endpoint.view(OBSERVER_PATH + "invariants"))["broken"]
        ]

    @property
    def exchanges(self) -> Iterator[Exchange]:
        """Yield all that has passed between the two, either way."""
        yield from self.to_hypervisor.exchanges
        yield from self.to_ultravisor.exchanges

    def placed(self, lpid: int) -> dict[int, int]:
        """Return the real address of each GFN that the Hypervisor has named to the Ultravisor."""
        found: dict[int, int] = {}
        for exchange in self.to_ultravisor.exchanges:
            form = exchange.form()
            if exchange.name not in {"UV_PAGE_IN", "UV_PAGE_OUT"} or form.get("lpid") != lpid:
                continue
            for ra, gpa, count in form["runs"]:
                for page in range(count):
                    found[gpa // PAGE_SIZE + page] = ra + page * PAGE_SIZE
        return found

    # Normal memory, as its owner reaches it. By file, for a mapping would allocate holes.

    @cached_property
    def _file(self) -> int:
        return os.open(self.normal_memory, os.O_RDWR | os.O_CLOEXEC)

    def peek(self, ra: int, length: int = PAGE_SIZE) -> bytes:
        """Read normal memory."""
        return os.pread(self._file, length, ra - NORMAL_BASE)

    def poke(self, ra: int, content: bytes) -> None:
        """Write normal memory."""
        os.pwrite(self._file, content, ra - NORMAL_BASE)

    def spare(self, number: int = 0) -> int:
        """Return the real address of a normal page that belongs to no VM: from the far end of all."""
        return NORMAL_BASE + self.plan.normal_memory_size - (number + 1) * PAGE_SIZE

    def release(self) -> None:
        """Close what `peek` and `poke` opened."""
        if "_file" in self.__dict__:
            os.close(self._file)


def memory_file(directory: Path) -> Path:
    """Return the file of normal memory in the directory that both sides have."""
    (file,) = directory.glob("normal-memory-*")
    return file


@asynccontextmanager
async def live_pair(plan: LivePlan = LivePlan()) -> AsyncIterator[LivePair]:
    """Start a pair, and stop it at the end, however that comes."""
    directory = Path(tempfile.mkdtemp(prefix="pef-live-"))
    memory = SHARED_MEMORY / f"pef-live-normal-memory-{secrets.token_hex(8)}"
    memory.mkdir(mode=0o700)
    processes: list[ServiceProcess] = []
    try:
        async with AsyncExitStack() as stack:
            pair = await _started(plan, directory, memory, processes, stack)
            stack.callback(pair.release)
            yield pair
    finally:
        _stop(processes)
        shutil.rmtree(memory, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


async def _started(
    plan: LivePlan,
    directory: Path,
    memory: Path,
    processes: list[ServiceProcess],
    stack: AsyncExitStack,
) -> LivePair:
    to_hypervisor = await stack.enter_async_context(ScriptedBetween(Side.HYPERVISOR))
    to_ultravisor = await stack.enter_async_context(ScriptedBetween(Side.ULTRAVISOR))
    tokens = {name: secrets.token_hex(32) for name in ("ULTRAVISOR", "HYPERVISOR", "OBSERVER", "VMM")}
    keys = secrets.token_hex(32), secrets.token_hex(32)
    ports = free_ports(2)
    to_ultravisor.upstream, to_hypervisor.upstream = (f"http://127.0.0.1:{port}" for port in ports)
    _start(plan, directory, memory, processes, ports, keys, tokens, (to_hypervisor, to_ultravisor))
    await processes[0].until_ready(to_ultravisor.upstream)
    await processes[1].until_ready(to_hypervisor.upstream)
    endpoints = Endpoints(
        to_ultravisor.upstream, to_hypervisor.upstream, tokens["VMM"], tokens["OBSERVER"], *keys
    )
    both = (("Ultravisor", endpoints.ultravisor_url), ("Hypervisor", endpoints.hypervisor_url))
    async with Endpoint(*both[0], tokens["OBSERVER"]) as endpoint:
        epoch = str((await endpoint.view(EPOCH_PATH))["epoch"])
    seen = [await stack.enter_async_context(Endpoint(*where, tokens["OBSERVER"])) for where in both]
    return LivePair(
        plan,
        endpoints,
        processes[0],
        processes[1],
        memory_file(memory),
        to_hypervisor,
        to_ultravisor,
        await stack.enter_async_context(Endpoint(*both[0], tokens["HYPERVISOR"], epoch)),
        await stack.enter_async_context(Endpoint(*both[1], tokens["ULTRAVISOR"], epoch)),
        (seen[0], seen[1]),
        await stack.enter_async_context(Vmm(endpoints)),
        await stack.enter_async_context(Watch(endpoints)),
        tokens,
        epoch,
    )


def _start(
    plan: LivePlan,
    directory: Path,
    memory: Path,
    processes: list[ServiceProcess],
    ports: list[int],
    keys: tuple[str, str],
    tokens: Mapping[str, str],
    betweens: tuple[ScriptedBetween, ScriptedBetween],
) -> None:
    to_hypervisor, to_ultravisor = betweens
    common = {
        "PEF_HOST": "127.0.0.1",
        "PEF_NORMAL_MEMORY_SIZE": str(plan.normal_memory_size),
        **{f"PEF_{name}_TOKEN": token for name, token in tokens.items()},
    }
    of_ultravisor = {
        "PEF_PORT": str(ports[0]),
        "PEF_PEER_URL": to_hypervisor.url if plan.between else to_hypervisor.upstream,
        "PEF_GUEST_KEY": keys[0],
        "PEF_SECURE_MEMORY": str(plan.secure_memory),
        "PEF_NORMAL_MEMORY": str(memory) if plan.mapped else "",
    }
    of_hypervisor = {
        "PEF_PORT": str(ports[1]),
        "PEF_PEER_URL": to_ultravisor.url if plan.between else to_ultravisor.upstream,
        "PEF_GUEST_KEY": keys[1],
        "PEF_DEVICE_PAGES": str(pages_in(plan.secure_memory)),
        "PEF_NORMAL_MEMORY": str(memory),
    }
    for script, variables in ((ULTRAVISOR_SCRIPT, of_ultravisor), (HYPERVISOR_SCRIPT, of_hypervisor)):
        log = directory / f"{script}.log"
        processes.append(ServiceProcess(script, {**common, **variables, **dict(plan.variables)}, log))


def _stop(processes: list[ServiceProcess]) -> None:
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        process.stop()
    processes.clear()
