"""Opens a live session: on a pair that is started for it, or on one that runs already."""

from dataclasses import dataclass
from typing import Any, Final

from pef_console.live.observing import NO_VM, VmObserver
from pef_console.live.pairs import Places, SessionPair, own_pair, running_pair
from pef_console.live.stage import LiveStage
from pef_console.live.vm import design_named
from pef_console.stage import NotPossible, Opener, Publish, Stage
from pef_lab.between.wire import Ports, ports_of
from pef_lab.endpoints import URLS, Endpoints, find_endpoints
from pef_lab.failures import OperatorFault, WrongInput
from pef_lab.numbers import range_of
from pef_lab.replay.stage import MEMORY
from pef_lab.sizes import UNITS
from pef_protocol.http import Role
from pef_protocol.quantities import PAGE_SIZE

LARGEST_MEMORY: Final = UNITS["TiB"]
SECURE_MEMORY: Final = 256 << 20
MORE: Final = 16 << 20
"""Bytes of secure memory beyond the VM's own: for a slot that is plugged, and for another VM's end."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """A running pair, and where a session stands between its services; None: a pair for each session."""

    endpoints: Endpoints | None = None
    ports: Ports | None = None


OWN_PAIRS: Final = LiveSettings()
"""A pair is started for each session."""


@dataclass(frozen=True, slots=True)
class LiveSystem:
    """What VM a session wants: sizes in bytes; `lpid` names a VM that it only watches."""

    memory: int = MEMORY
    secure_memory: int = SECURE_MEMORY
    lpid: int | None = None


def live_settings(
    ultravisor_url: str | None,
    hypervisor_url: str | None,
    between_ultravisor: int | None,
    between_hypervisor: int | None,
    host: str | None,
) -> LiveSettings:
    """Return the running pair that is named, with whatever tokens there are; raise WrongInput for half."""
    if between_ultravisor is None and between_hypervisor is None:
        found = find_endpoints(needs=URLS, ultravisor_url=ultravisor_url, hypervisor_url=hypervisor_url)
        return LiveSettings(found)
    ports = ports_of(ultravisor_url, hypervisor_url, between_ultravisor, between_hypervisor, host, needs=URLS)
    return LiveSettings(ports.endpoints if ports else None, ports)


async def open_live(
    design: str,
    system: LiveSystem,
    settings: LiveSettings,
    publish: Publish,
    places: Places | None = None,
) -> Stage:
    """Open a live session; `places` bounds the pairs that are started.

    Raise WrongInput for a system that can't be, NotPossible where a token is missing, or a service does not
    answer.
    """
    known = design_named(design)
    _check(system, settings)
    try:
        if settings.endpoints is None:
            pair = await own_pair(system.secure_memory, places or Places())
        else:
            pair = await running_pair(settings.endpoints, settings.ports if system.lpid is None else None)
    except OperatorFault as fault:
        raise NotPossible(str(fault)) from None
    try:
        if system.lpid is not None:
            known = design_named(await _design_of(pair, system.lpid))
        else:
            _require(pair, Role.VMM)
        stage = LiveStage(pair, known, publish, memory=system.memory, lpid=system.lpid)
    except BaseException:
        await pair.close()
        raise
    try:
        await stage.begin()
    except OperatorFault as fault:
        await stage.close()
        raise NotPossible(str(fault)) from None
    except BaseException:
        await stage.close()
        raise
    return stage


def live_opener(settings: LiveSettings) -> Opener:
    """Return what opens a live session from a body with `design` and `system`."""
    places = Places()

    async def opened(body: Any, publish: Publish) -> Stage:
        wanted = body.system
        enough = max(SECURE_MEMORY, wanted.memory + MORE)
        system = LiveSystem(wanted.memory, wanted.secure_memory or enough, wanted.lpid)
        return await open_live(body.design, system, settings, publish, places)

    return opened


def _check(system: LiveSystem, settings: LiveSettings) -> None:
    if system.lpid is not None and settings.endpoints is None:
        raise WrongInput("lpid: a VM is watched on a running pair, and this console was given none")
    for name, size, least, most in (
        ("memory", system.memory, MEMORY, LARGEST_MEMORY),
        ("secure_memory", system.secure_memory, MEMORY, 2 * LARGEST_MEMORY),
    ):
        if not least <= size <= most or size % PAGE_SIZE:
            raise WrongInput(f"{name}: whole pages of {PAGE_SIZE} bytes, {range_of(least, most)} bytes")


def _require(pair: SessionPair, role: Role) -> None:
    for needed in (Role.OBSERVER, role):
        if reason := pair.keyring.why_not(needed):
            raise NotPossible(f"a VM can't be created: {reason}")


async def _design_of(pair: SessionPair, lpid: int) -> str:
    """Return the design of a VM that is there; raise NotPossible where there is none."""
    if reason := pair.keyring.why_not(Role.OBSERVER):
        raise NotPossible(f"nothing can be seen: {reason}")
    try:
        async with VmObserver(pair.endpoints, lpid) as observer:
            found = await observer.at_hypervisor()
    except OperatorFault as fault:
        raise NotPossible(str(fault)) from None
    if found.state == NO_VM:
        raise NotPossible(f"no VM has lpid {lpid}")
    return found.design
