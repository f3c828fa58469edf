"""Sets the stage for a pass: a subject that runs somewhere, or one that is started here and stopped again.

| subject | who is tested | who is played by us |
|---|---|---|
| pair | both sides, as they talk to each other | guests, the VMM; and either side behind the other's back |
| ultravisor | that side alone | its Hypervisor, where the subject was told to call it |
| hypervisor | that side alone | its Ultravisor, the same |
| hypervisor without secure memory | the same, on such a host | the same; only ever started here |
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from pef_lab.endpoints import Endpoints
from pef_lab.hello import current_epoch
from pef_lab.pair import PairPlan, started
from pef_lab.ports import LOOPBACK
from pef_lab.rows.doors import HYPERVISOR, Doors
from pef_lab.rows.playing.hypervisor import PlayedHypervisor
from pef_lab.rows.playing.ultravisor import PlayedUltravisor
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Subject
from pef_lab.service_process import LIVE, READY, ServiceProcess
from pef_lab.starting import (
    HYPERVISOR_SCRIPT,
    ULTRAVISOR_SCRIPT,
    fresh_endpoints,
    hypervisor_environment,
    ultravisor_environment,
)
from pef_protocol.http import Role

SECURE_MEMORY: Final = 1 << 30
"""Bytes of secure memory of what is started here: room for the SVMs of all rows that are played beside each
other, so that none loses a page to another; and no more than can be filled in a moment."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where we listen when we play a side: an address of this machine, and a port, 0 for any free one."""

    host: str = LOOPBACK
    port: int = 0


def doors_of(endpoints: Endpoints, role: Role, patience: float) -> Doors:
    """Return the doors of one side, for every caller whose token is known."""
    tokens = {
        Role.ULTRAVISOR: endpoints.ultravisor_token,
        Role.HYPERVISOR: endpoints.hypervisor_token,
        Role.VMM: endpoints.vmm_token,
        Role.OBSERVER: endpoints.observer_token,
    }
    url, guest_key = {
        Role.ULTRAVISOR: (endpoints.ultravisor_url, endpoints.ultravisor_guest_key),
        Role.HYPERVISOR: (endpoints.hypervisor_url, endpoints.hypervisor_guest_key),
    }[role]
    return Doors(role.capitalize(), url, tokens, guest_key, patience)


def played_hypervisor(doors: Doors, endpoints: Endpoints, listening: Listening) -> PlayedHypervisor:
    """Return the Hypervisor that we play to an Ultravisor; it listens once it is entered."""
    return PlayedHypervisor(doors, endpoints.ultravisor_token, listening.host, listening.port)


def played_ultravisor(doors: Doors, endpoints: Endpoints, listening: Listening) -> PlayedUltravisor:
    """Return the Ultravisor that we play to a Hypervisor; it listens once it is entered."""
    return PlayedUltravisor(doors, endpoints.hypervisor_token, listening.host, listening.port)


@asynccontextmanager
async def closing(stage: Stage) -> AsyncIterator[Stage]:
    """Have a stage closed at the end, however that comes."""
    try:
        yield stage
    finally:
        await stage.close()


# A subject that runs already


@asynccontextmanager
async def pair_at(endpoints: Endpoints, patience: float) -> AsyncIterator[Stage]:
    """Set the stage for a pair that runs."""
    ultravisor, hypervisor = (
        doors_of(endpoints, role, patience) for role in (Role.ULTRAVISOR, Role.HYPERVISOR)
    )
    async with closing(Stage(Subject.PAIR, ultravisor=ultravisor, hypervisor=hypervisor)) as stage:
        ultravisor.epoch = hypervisor.epoch = await current_epoch(partial(ultravisor.ask, HYPERVISOR))
        yield stage


@asynccontextmanager
async def ultravisor_at(endpoints: Endpoints, patience: float, listening: Listening) -> AsyncIterator[Stage]:
    """Set the stage for an Ultravisor that runs and calls us."""
    doors = doors_of(endpoints, Role.ULTRAVISOR, patience)
    async with (
        played_hypervisor(doors, endpoints, listening) as played,
        closing(Stage(Subject.ULTRAVISOR, ultravisor=doors, played=played)) as stage,
    ):
        await played.say_hello()
        yield stage


@asynccontextmanager
async def hypervisor_at(endpoints: Endpoints, patience: float, listening: Listening) -> AsyncIterator[Stage]:
    """Set the stage for a Hypervisor that runs and calls us."""
    doors = doors_of(endpoints, Role.HYPERVISOR, patience)
    async with (
        played_ultravisor(doors, endpoints, listening) as played,
        closing(Stage(Subject.HYPERVISOR, hypervisor=doors, played=played)) as stage,
    ):
        yield stage


# A subject of our own

Open = Callable[[float], AbstractAsyncContextManager[Stage]]
"""Starts a subject and sets its stage; takes the patience, in seconds."""


@asynccontextmanager
async def own_pair(patience: float) -> AsyncIterator[Stage]:
    """Start a pair and set its stage."""
    async with started(PairPlan(SECURE_MEMORY)) as pair:
        visors = {f"{role}_token": token for role, token in pair.visor_tokens.items()}
        async with pair_at(replace(pair.endpoints, **visors), patience) as stage:
            yield stage


@asynccontextmanager
async def own_ultravisor(patience: float) -> AsyncIterator[Stage]:
    """Start an Ultravisor alone and set its stage."""
    endpoints = fresh_endpoints()
    doors = doors_of(endpoints, Role.ULTRAVISOR, patience)
    async with played_hypervisor(doors, endpoints, Listening()) as played:
        told = ultravisor_environment(
            endpoints, peer_url=played.url, normal_memory="", secure_memory=SECURE_MEMORY
        )
        async with (
            _running(ULTRAVISOR_SCRIPT, told, endpoints.ultravisor_url, LIVE),
            closing(Stage(Subject.ULTRAVISOR, ultravisor=doors, played=played)) as stage,
        ):
            await played.say_hello()
            yield stage


@asynccontextmanager
async def own_hypervisor(
    patience: float, subject: Subject = Subject.HYPERVISOR, secure_memory: int = SECURE_MEMORY
) -> AsyncIterator[Stage]:
    """Start a Hypervisor alone and set its stage."""
    endpoints = fresh_endpoints()
    doors = doors_of(endpoints, Role.HYPERVISOR, patience)
    async with played_ultravisor(doors, endpoints, Listening()) as played:
        told = hypervisor_environment(
            endpoints, peer_url=played.url, normal_memory="", secure_memory=secure_memory
        )
        async with (
            _running(HYPERVISOR_SCRIPT, told, endpoints.hypervisor_url),
            closing(Stage(subject, hypervisor=doors, played=played)) as stage,
        ):
            yield stage


def own_bare_hypervisor(patience: float) -> AbstractAsyncContextManager[Stage]:
    """Start a Hypervisor alone, on a host without secure memory, and set its stage."""
    return own_hypervisor(patience, Subject.BARE_HYPERVISOR, 0)


OWN: Final[dict[Subject, Open]] = {
    Subject.PAIR: own_pair,
    Subject.ULTRAVISOR: own_ultravisor,
    Subject.HYPERVISOR: own_hypervisor,
    Subject.BARE_HYPERVISOR: own_bare_hypervisor,
}


@asynccontextmanager
async def _running(
    script: str, told: dict[str, str], url: str, until: str = READY
) -> AsyncIterator[ServiceProcess]:
    """Start one service, wait until it answers at `until`, and stop it at the end."""
    directory = Path(tempfile.mkdtemp(prefix="pef-alone-"))
    try:
        process = ServiceProcess(script, told, directory / "service.log")
        try:
            await process.until_ready(url, until)
            yield process
        finally:
            process.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
