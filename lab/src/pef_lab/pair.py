"""The pair: an Ultravisor and a Hypervisor as two processes that know each other by URL and token alone.

Every token is random and fresh, and travels by the processes' environment. Each side has its own key for
guests. The file of normal memory is the only thing that both can map, if they share one at all; it goes when
the pair goes. There is nothing like it for secure memory.
"""

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from pef_lab.endpoints import Endpoints
from pef_lab.failures import Unanswered
from pef_lab.service_process import ServiceProcess, free_ports
from pef_protocol.quantities import pages_in
from pef_protocol.wire import Role

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the one place whose files are memory
ULTRAVISOR_SCRIPT: Final = "pef-ultravisor"
HYPERVISOR_SCRIPT: Final = "pef-hypervisor"
ATTEMPTS: Final = 3
"""Starts that are tried: somebody else may take a free port before a service does."""
PORT_TAKEN: Final = "address already in use"


class NormalMemoryForm(StrEnum):
    """How the Ultravisor reaches normal memory: a mapping that both share, or HTTP to its owner."""

    SHM = "shm"
    HTTP = "http"


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


@dataclass(frozen=True, slots=True)
class Pair:
    """A running pair. `normal_memory` is the file that both map, or None.

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
    """Start a pair and stop it at the end, however that comes; raise Unanswered where it doesn't start."""
    directory = Path(tempfile.mkdtemp(prefix="pef-pair-"))
    shared = plan.normal_memory is NormalMemoryForm.SHM
    memory = SHARED_MEMORY / f"pef-normal-memory-{secrets.token_hex(8)}" if shared else None
    processes: list[ServiceProcess] = []
    try:
        for attempt in range(ATTEMPTS):
            try:
                pair = await _start(plan, memory, directory, processes)
                break
            except Unanswered as failure:
                if attempt == ATTEMPTS - 1 or PORT_TAKEN not in failure.reason.lower():
                    raise
                _stop(processes, memory)
        else:  # pragma: no cover - the last attempt raises
            raise AssertionError
        yield pair
    finally:
        _stop(processes, memory)
        shutil.rmtree(directory, ignore_errors=True)


async def _start(
    plan: PairPlan, memory: Path | None, directory: Path, processes: list[ServiceProcess]
) -> Pair:
    ultravisor_port, hypervisor_port = free_ports(2)
    endpoints = Endpoints(
        ultravisor_url=f"http://127.0.0.1:{ultravisor_port}",
        hypervisor_url=f"http://127.0.0.1:{hypervisor_port}",
        vmm_token=secrets.token_hex(32),
        observer_token=secrets.token_hex(32),
        ultravisor_guest_key=secrets.token_hex(32),
        hypervisor_guest_key=secrets.token_hex(32),
    )
    visor_tokens = {role: secrets.token_hex(32) for role in (Role.ULTRAVISOR, Role.HYPERVISOR)}
    common = {
        "PEF_HOST": "127.0.0.1",
        "PEF_NORMAL_MEMORY": str(memory or ""),
        "PEF_ULTRAVISOR_TOKEN": visor_tokens[Role.ULTRAVISOR],
        "PEF_HYPERVISOR_TOKEN": visor_tokens[Role.HYPERVISOR],
        "PEF_OBSERVER_TOKEN": endpoints.observer_token,
    }
    of_ultravisor = {
        "PEF_SECURE_MEMORY": str(plan.secure_memory),
        "PEF_GFNS_A_MESSAGE": str(plan.gfns_a_message),
        "PEF_PORT": str(ultravisor_port),
        "PEF_PEER_URL": plan.hypervisor_called_at or endpoints.hypervisor_url,
        "PEF_GUEST_KEY": endpoints.ultravisor_guest_key,
    }
    of_hypervisor = {
        "PEF_PORT": str(hypervisor_port),
        "PEF_PEER_URL": plan.ultravisor_called_at or endpoints.ultravisor_url,
        "PEF_GUEST_KEY": endpoints.hypervisor_guest_key,
        "PEF_VMM_TOKEN": endpoints.vmm_token,
        "PEF_DEVICE_PAGES": str(pages_in(plan.secure_memory)),
    }
    hypervisor = ServiceProcess(HYPERVISOR_SCRIPT, common | of_hypervisor, directory / "hypervisor.log")
    processes.append(hypervisor)
    ultravisor = ServiceProcess(ULTRAVISOR_SCRIPT, common | of_ultravisor, directory / "ultravisor.log")
    processes.append(ultravisor)
    await hypervisor.until_ready(endpoints.hypervisor_url)
    await ultravisor.until_ready(endpoints.ultravisor_url)
    return Pair(endpoints, ultravisor, hypervisor, memory, visor_tokens)


def _stop(processes: list[ServiceProcess], memory: Path | None) -> None:
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        process.stop()
    processes.clear()
    if memory is not None:
        memory.unlink(missing_ok=True)
