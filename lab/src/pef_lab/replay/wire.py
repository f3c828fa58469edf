"""A pair of services with a go-between on the wire each way: a pair of its own, or a running one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from pef_lab.endpoints import Endpoints
from pef_lab.pair import NormalMemoryForm, PairPlan, started
from pef_lab.replay.between import GoBetween
from pef_lab.replay.traffic import Traffic
from pef_protocol.events import Side

SECURE_MEMORY: Final = 256 << 20
"""Bytes: no page has to make room for another."""


@dataclass(frozen=True, slots=True)
class Ports:
    """A running pair, and where its services were told to call each other.

    The Hypervisor calls port `ultravisor` of this machine, the Ultravisor port `hypervisor`.
    """

    endpoints: Endpoints
    ultravisor: int
    hypervisor: int


@dataclass(frozen=True, slots=True)
class Wire:
    """Where the services themselves are, and what passes between them."""

    endpoints: Endpoints
    traffic: Traffic


@asynccontextmanager
async def wired(ports: Ports | None = None) -> AsyncIterator[Wire]:
    """Put go-betweens before both services of a running pair, or of one that is started for it.

    Its normal memory travels over HTTP, so that transfers are messages too.
    """
    traffic = Traffic()
    asked = (ports.ultravisor, ports.hypervisor) if ports else (0, 0)
    async with AsyncExitStack() as stack:
        before_ultravisor, before_hypervisor = [
            await stack.enter_async_context(GoBetween(side, traffic.conduct, port))
            for side, port in zip((Side.ULTRAVISOR, Side.HYPERVISOR), asked, strict=True)
        ]
        if ports is not None:
            endpoints = ports.endpoints
        else:
            plan = PairPlan(
                SECURE_MEMORY,
                NormalMemoryForm.HTTP,
                ultravisor_called_at=before_ultravisor.url,
                hypervisor_called_at=before_hypervisor.url,
            )
            endpoints = (await stack.enter_async_context(started(plan))).endpoints
        before_ultravisor.upstream = endpoints.ultravisor_url
        before_hypervisor.upstream = endpoints.hypervisor_url
        yield Wire(endpoints, traffic)
