"""A go-between on the wire each way between a pair of services: a pair of its own, or a running one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

import httpx

from pef_lab.between.go_between import GoBetween
from pef_lab.endpoints import OF_OUTSIDERS, Endpoints, find_endpoints
from pef_lab.failures import WrongInput
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.pair import Pair, PairPlan, started
from pef_lab.ports import LOOPBACK
from pef_lab.service_process import READY
from pef_protocol.events import Side
from pef_protocol.http import Role

SECURE_MEMORY: Final = 256 << 20
"""Bytes: no page has to make room for another."""
PLAN: Final = PairPlan(SECURE_MEMORY, NormalMemoryForm.HTTP)
"""Its normal memory travels over HTTP, so that transfers are messages too."""
LAST_PORT: Final = 65535
JOINING: Final = 10.0
"""Seconds that a running pair may take until it is ready once we stand between."""
STEP: Final = 0.05
NOT_YET: Final = httpx.codes.SERVICE_UNAVAILABLE

Kind = TypeVar("Kind", bound=GoBetween)


@dataclass(frozen=True, slots=True)
class Ports:
    """A running pair, and where its services were told to call each other.

    The Hypervisor calls port `ultravisor` of this machine, the Ultravisor port `hypervisor`; `host` is the
    address at which both are listened on.
    """

    endpoints: Endpoints
    ultravisor: int
    hypervisor: int
    host: str = LOOPBACK


@dataclass(frozen=True, slots=True)
class Between(Generic[Kind]):
    """Where the services are, who stands before each, and the tokens by which they know each other.

    Of a running pair these are empty where nobody told them.
    """

    endpoints: Endpoints
    before_ultravisor: Kind
    before_hypervisor: Kind
    visor_tokens: Mapping[Role, str] = field(repr=False)
    pair: Pair | None = None
    """The pair, where it is our own."""


@asynccontextmanager
async def standing_between(
    make: Callable[[Side, str, int], Kind], ports: Ports | None = None, plan: PairPlan = PLAN
) -> AsyncIterator[Between[Kind]]:
    """Put what `make(side, host, port)` gives before both services: of a running pair, or of its own."""
    host = ports.host if ports else LOOPBACK
    async with AsyncExitStack() as stack:
        before_ultravisor = make(Side.ULTRAVISOR, host, ports.ultravisor if ports else 0)
        before_hypervisor = make(Side.HYPERVISOR, host, ports.hypervisor if ports else 0)
        for each in (before_ultravisor, before_hypervisor):
            await stack.enter_async_context(each)
        visor_tokens: Mapping[Role, str]
        pair: Pair | None = None

        def announce(endpoints: Endpoints) -> None:
            before_ultravisor.upstream = endpoints.ultravisor_url
            before_hypervisor.upstream = endpoints.hypervisor_url

        if ports is not None:
            endpoints = ports.endpoints
            announce(endpoints)
            await _joined(endpoints)
            visor_tokens = {
                Role.ULTRAVISOR: endpoints.ultravisor_token,
                Role.HYPERVISOR: endpoints.hypervisor_token,
            }
        else:
            called = replace(
                plan,
                ultravisor_called_at=before_ultravisor.url,
                hypervisor_called_at=before_hypervisor.url,
                announce=announce,
            )
            pair = await stack.enter_async_context(started(called))
            endpoints, visor_tokens = pair.endpoints, pair.visor_tokens
        yield Between(endpoints, before_ultravisor, before_hypervisor, visor_tokens, pair)


async def _joined(endpoints: Endpoints) -> None:
    """Wait, a bounded time, until both sides of a running pair have found each other past us.

    Where they do not, whatever is asked next says why.
    """
    urls = (endpoints.ultravisor_url, endpoints.hypervisor_url)
    async with httpx.AsyncClient(trust_env=False, timeout=JOINING) as client:
        with suppress(TimeoutError, httpx.HTTPError, httpx.InvalidURL):
            async with asyncio.timeout(JOINING):
                for url in urls:
                    while (await client.get(url + READY)).status_code == NOT_YET:  # noqa: ASYNC110
                        await asyncio.sleep(STEP)


def ports_of(
    ultravisor_url: str | None,
    hypervisor_url: str | None,
    ultravisor: int | None,
    hypervisor: int | None,
    host: str | None = None,
    *,
    needs: frozenset[str] = OF_OUTSIDERS,
) -> Ports | None:
    """Return the running pair that is meant, or None; raise WrongInput where only half of it is named.

    `needs` are the parts of its endpoints that must be known.
    """
    given = (ultravisor_url, hypervisor_url, ultravisor, hypervisor, host)
    if all(each is None for each in given):
        return None
    if ultravisor is None or hypervisor is None:
        raise WrongInput(
            "a running pair takes --between-ultravisor and --between-hypervisor: where each calls"
        )
    if not all(0 < port <= LAST_PORT for port in (ultravisor, hypervisor)) or ultravisor == hypervisor:
        raise WrongInput("--between-ultravisor and --between-hypervisor: two ports from 1 to 65535")
    endpoints = find_endpoints(needs=needs, ultravisor_url=ultravisor_url, hypervisor_url=hypervisor_url)
    if endpoints is None:
        raise WrongInput(
            "a running pair takes --ultravisor-url and --hypervisor-url: the URLs of its services"
        )
    return Ports(endpoints, ultravisor, hypervisor, host or LOOPBACK)
