"""The pair: an Ultravisor and a Hypervisor as two processes that know each other by URL and token alone.

The file of normal memory is the only thing that both can map, if they share one at all; it goes when
the pair goes. There is nothing like it for secure memory.
"""

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from pef_lab.endpoints import Endpoints
from pef_lab.failures import OperatorFault, Unanswered
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.service_process import READY, ServiceProcess
from pef_lab.starting import (
    HYPERVISOR_SCRIPT,
    ULTRAVISOR_SCRIPT,
    fresh_endpoints,
    hypervisor_environment,
    ultravisor_environment,
)
from pef_protocol.http import Role

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the one place whose files are memory


@dataclass(frozen=True, slots=True)
class PairPlan:
    """What pair to start: secure memory in bytes, and the form of the memory bus."""

    secure_memory: int
    normal_memory: NormalMemoryForm = NormalMemoryForm.SHM
    gfns_a_message: int = 0
    """Most GFNs that the Ultravisor asks for in one message; 0: as many as it needs."""
    ultravisor_called_at: str = ""
    """URL at which the Hypervisor calls the Ultravisor, if somebody stands between; and the other way."""
    hypervisor_called_at: str = ""
    ultravisor_port: int = 0
    """Loopback port of the Ultravisor, 0 for any; and of the Hypervisor."""
    hypervisor_port: int = 0
    machine_key: str = field(default="", repr=False)
    """What the machine's key pair is made of; empty: another one each time."""
    peer_timeout: float | None = None
    """Seconds of one attempt of a nested call; None: as long as it is by itself."""
    give_up: float | None = None
    """Seconds after which an SVM is aborted whose hypercall has no outcome; None: as long as by itself."""
    mutants: tuple[str, ...] = ()
    """Deliberate faults of the services, by the names that `python -m pef_mutants` lists."""
    until: str = READY
    """Where both answer once they have started: `LIVE` where whoever stands between comes later."""
    announce: Callable[[Endpoints], None] = lambda _: None
    """Is told of the endpoints before the services start: hello passes whoever stands between, too."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A running pair. `normal_memory` is the directory of the file that both map, or None.

    `visor_tokens` are for whoever plays one visor to the other: an attacker, a bench.
    """

    endpoints: Endpoints
    ultravisor: ServiceProcess
    hypervisor: ServiceProcess
    normal_memory: Path | None
    visor_tokens: Mapping[Role, str] = field(repr=False)

    @property
    def ended(self) -> ServiceProcess | None:
        """Return a service that is no more, or None."""
        return next((each for each in (self.ultravisor, self.hypervisor) if each.ended), None)


@asynccontextmanager
async def started(plan: PairPlan) -> AsyncIterator[Pair]:
    """Start a pair and stop it at the end, however that comes; raise Unanswered where it doesn't start.

    Where a request is not answered because a service has ended, raise OperatorFault, which says how it ended.
    """
    async with _started(plan) as pair:
        try:
            yield pair
        except Unanswered:
            for each in (pair.hypervisor, pair.ultravisor):
                if await each.ends_soon():
                    raise OperatorFault(each.end()) from None
            raise


@asynccontextmanager
async def _started(plan: PairPlan) -> AsyncIterator[Pair]:
    directory = Path(tempfile.mkdtemp(prefix="pef-pair-"))
    shared = plan.normal_memory is NormalMemoryForm.SHM
    memory = SHARED_MEMORY / f"pef-normal-memory-{secrets.token_hex(8)}" if shared else None
    processes: list[ServiceProcess] = []
    try:
        if memory is not None:
            memory.mkdir(mode=0o700)
        yield await _start(plan, memory, directory, processes)
    finally:
        _stop(processes, memory)
        shutil.rmtree(directory, ignore_errors=True)


async def _start(
    plan: PairPlan, memory: Path | None, directory: Path, processes: list[ServiceProcess]
) -> Pair:
    endpoints = fresh_endpoints(plan.ultravisor_port, plan.hypervisor_port)
    plan.announce(endpoints)
    of_ultravisor = ultravisor_environment(
        endpoints,
        peer_url=plan.hypervisor_called_at or endpoints.hypervisor_url,
        normal_memory=str(memory or ""),
        secure_memory=plan.secure_memory,
        gfns_a_message=plan.gfns_a_message,
        machine_key=plan.machine_key,
    )
    of_hypervisor = hypervisor_environment(
        endpoints,
        peer_url=plan.ultravisor_called_at or endpoints.ultravisor_url,
        normal_memory=str(memory or ""),
        secure_memory=plan.secure_memory,
    )
    waits = {"PEF_PEER_TIMEOUT": str(plan.peer_timeout)} if plan.peer_timeout else {}
    waits |= {"PEF_GIVE_UP": str(plan.give_up)} if plan.give_up else {}
    start = partial(ServiceProcess, mutants=plan.mutants)
    hypervisor = start(HYPERVISOR_SCRIPT, of_hypervisor | waits, directory / "hypervisor.log")
    processes.append(hypervisor)
    ultravisor = start(ULTRAVISOR_SCRIPT, of_ultravisor | waits, directory / "ultravisor.log")
    processes.append(ultravisor)
    await ultravisor.until_ready(endpoints.ultravisor_url, plan.until, beside=[hypervisor])
    await hypervisor.until_ready(endpoints.hypervisor_url, plan.until, beside=[ultravisor])
    visor_tokens = {
        Role.ULTRAVISOR: endpoints.ultravisor_token,
        Role.HYPERVISOR: endpoints.hypervisor_token,
    }
    outsiders = replace(endpoints, ultravisor_token="", hypervisor_token="")
    return Pair(outsiders, ultravisor, hypervisor, memory, visor_tokens)


def _stop(processes: list[ServiceProcess], memory: Path | None) -> None:
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        process.stop()
    processes.clear()
    if memory is not None:
        shutil.rmtree(memory, ignore_errors=True)
