"""A pair of services as processes, a go-between before each: either can be killed and started anew.

The processes are forked from one that has imported everything. Every request between the two is kept, so that
it can be sent once more after its sender is gone.
"""

import asyncio
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientError, web

from crash.hello import GET_EPOCH, POST_HELLO
from harness.canaries import file_contents
from mutants.forked import STARTING, ForkedService
from pef_lab.between.go_between import GoBetween
from pef_lab.between.passing import Passing
from pef_lab.between.server import drop
from pef_lab.endpoint import Endpoint
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Unanswered
from pef_lab.guest import Guest
from pef_lab.pair import SHARED_MEMORY
from pef_lab.starting import (
    HYPERVISOR_SCRIPT,
    ULTRAVISOR_SCRIPT,
    fresh_endpoints,
    hypervisor_environment,
    ultravisor_environment,
)
from pef_lab.vmm import Vmm
from pef_protocol.events import Side
from pef_protocol.http import EPOCH_PATH, HELLO_PATH, OBSERVER_PATH
from pef_protocol.quantities import Lpid

NORMAL_BYTES: Final = 1 << 30
STEP: Final = 0.003
SCRIPTS: Final = {Side.ULTRAVISOR: ULTRAVISOR_SCRIPT, Side.HYPERVISOR: HYPERVISOR_SCRIPT}
HINT: Final = "hint of a start"
HELLO: Final = {
    (Side.ULTRAVISOR, EPOCH_PATH): GET_EPOCH,
    (Side.ULTRAVISOR, HELLO_PATH): POST_HELLO,
    (Side.HYPERVISOR, HELLO_PATH): HINT,
}
"""The messages by which an epoch begins, by receiver and path."""
MACHINE_KEY: Final = secrets.token_hex(32)
"""One for all pairs of this process: an image is sealed for it once."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Which side is killed, at which message of a name (from 0), before it is done or after."""

    name: str
    number: int
    dies: Side
    done: bool


class OneLife(Guest):
    """A guest that never asks for new tokens: it speaks for the VM that it was when it began."""

    async def _renewed(self) -> str:
        return ""


@dataclass(eq=False)
class KillablePair:
    """A running pair. `kept` are the messages since `arm`; `killed` is set by a kill."""

    directory: Path
    endpoints: Endpoints
    betweens: dict[Side, GoBetween]
    variables: dict[Side, dict[str, str]]
    open_ports: dict[Side, Endpoint]
    vmm: Vmm
    processes: dict[Side, ForkedService] = field(default_factory=dict)
    kept: list[Passing] = field(default_factory=list)
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    hears: asyncio.Event = field(default_factory=asyncio.Event)
    """Set but for the time in which a side starts anew: until then no message arrives, or counts."""
    svms_at_first_call: list[int] | None = None
    """Lpids of the SVMs that were there when a Hypervisor that was started anew made its first call."""
    _kill: Kill | None = None
    _armed: bool = False
    _watches: bool = False

    @property
    def moments(self) -> list[tuple[str, int]]:
        """Return each message that is kept: its name, and how many of that name came before."""
        seen = Counter[str]()
        found = []
        for name in map(name_of, self.kept):
            found.append((name, seen[name]))
            seen[name] += 1
        return found

    def arm(self, kill: Kill | None) -> None:
        """Keep messages from now on, and kill a side at the one that `kill` says."""
        self.kept.clear()
        self._kill, self._armed = kill, True

    async def conduct(self, passing: Passing) -> web.StreamResponse:
        """Pass a request on, and its answer back; kill where it is time."""
        await self.hears.wait()
        if not (passing.is_call or passing.is_bus or (passing.to, passing.request.path) in HELLO):
            return (await passing.forward()).response()
        self.kept.append(passing)
        if self._watches and passing.to is Side.ULTRAVISOR and passing.is_call:
            self._watches = False
            self.svms_at_first_call = await self.svms()
        kill = self._kill
        if kill is not None and self.moments[-1] == (kill.name, kill.number):
            self._kill = None
            if kill.done:
                await passing.forward()
            self.processes[kill.dies].stop()
            self.killed.set()
            return drop(passing.request)
        return (await passing.forward()).response()

    async def again(self, passing: Passing) -> None:
        """Send a message once more, as it was; nobody reads what is answered."""
        try:
            await passing.forward()
        except ClientError:
            return

    def start(self, side: Side) -> None:
        """Start a side; nothing is left of what it knew."""
        self._watches = self._watches or (side is Side.HYPERVISOR and self._armed)
        log = self.directory / f"{side.value} {secrets.token_hex(4)}.log"
        self.processes[side] = ForkedService(SCRIPTS[side], self.variables[side], log)

    async def start_anew(self, side: Side) -> None:
        """Kill a side, and start it; return once both sides are ready."""
        self.hears.clear()
        self.processes[side].stop()
        self.start(side)
        await self.until_ready(side, "/livez")
        self.hears.set()
        for each in Side:
            await self.until_ready(each)

    async def until_ready(self, side: Side, path: str = "/readyz") -> None:
        """Wait until a side that was started says that it is ready."""
        async with asyncio.timeout(STARTING):
            while True:
                try:
                    await self.open_ports[side].ask("GET", path)
                except Unanswered:
                    await asyncio.sleep(STEP)
                else:
                    return

    # What observers see

    async def svms(self) -> list[int]:
        """Return the lpids of the SVMs that the Ultravisor has."""
        seen = await self.open_ports[Side.ULTRAVISOR].view(OBSERVER_PATH + "vms")
        return [vm["lpid"] for vm in seen["vms"] if vm["state"] != "NORMAL"]

    async def view(self, side: Side, what: str) -> dict[str, Any]:
        """Return what an observer sees of a side."""
        seen: dict[str, Any] = await self.open_ports[side].view(OBSERVER_PATH + what)
        return seen

    async def public_key(self) -> bytes:
        """Return the public key of the machine as it is now."""
        return bytes.fromhex((await self.open_ports[Side.ULTRAVISOR].view("/v1/machine-key"))["public_key"])

    def normal_memory(self) -> Iterator[bytes]:
        """Yield all that normal memory holds."""
        for path in sorted(self.directory.glob("volume/normal-memory-*")):
            for _, content in file_contents(path):
                yield content

    # Roles

    async def guest(self, lpid: int, *, counts: bool = False) -> Guest:
        """Return the guest that has `lpid` now, with tokens that are current; `counts`: so do its calls."""
        url = self.betweens[Side.ULTRAVISOR].url if counts else self.endpoints.ultravisor_url
        return OneLife(replace(self.endpoints, ultravisor_url=url), Lpid(lpid))


def name_of(passing: Passing) -> str:
    """Return the name of a message: a call's, or the bus's and hello's roads."""
    if passing.is_bus:
        return f"bus {passing.name}"
    return HELLO.get((passing.to, passing.request.path), passing.name)


@asynccontextmanager
async def killable_pair(secure_memory: int, *, mapped: bool) -> AsyncIterator[KillablePair]:
    """Start a pair, and stop it at the end; `mapped`: the Ultravisor maps normal memory, else it is HTTP."""
    endpoints = fresh_endpoints()
    directory = Path(tempfile.mkdtemp(prefix="pef-crash-", dir=SHARED_MEMORY))
    volume = directory / "volume"
    volume.mkdir(mode=0o700)
    memory = str(volume)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        urls = {Side.ULTRAVISOR: endpoints.ultravisor_url, Side.HYPERVISOR: endpoints.hypervisor_url}
        pair: KillablePair

        async def conduct(passing: Passing) -> web.StreamResponse:
            return await pair.conduct(passing)

        betweens = {side: await stack.enter_async_context(GoBetween(side, conduct)) for side in Side}
        for side, between in betweens.items():
            between.upstream = urls[side]
        size = {"PEF_NORMAL_MEMORY_SIZE": str(NORMAL_BYTES)}
        variables = {
            Side.ULTRAVISOR: size
            | ultravisor_environment(
                endpoints,
                peer_url=betweens[Side.HYPERVISOR].url,
                normal_memory=memory if mapped else "",
                secure_memory=secure_memory,
                machine_key=MACHINE_KEY,
            ),
            Side.HYPERVISOR: size
            | hypervisor_environment(
                endpoints,
                peer_url=betweens[Side.ULTRAVISOR].url,
                normal_memory=memory,
                secure_memory=secure_memory,
            ),
        }
        open_ports = {
            side: await stack.enter_async_context(Endpoint(side.capitalize(), url, endpoints.observer_token))
            for side, url in urls.items()
        }
        vmm = await stack.enter_async_context(Vmm(endpoints))
        pair = KillablePair(directory, endpoints, betweens, variables, open_ports, vmm)
        pair.hears.set()
        try:
            for side in (Side.HYPERVISOR, Side.ULTRAVISOR):
                pair.start(side)
            for side in Side:
                await pair.until_ready(side)
            yield pair
        finally:
            for process in pair.processes.values():
                process.stop()
