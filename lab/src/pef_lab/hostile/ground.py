"""Where attacks take place: a pair with a liar on the wire each way, and what a hostile Hypervisor holds.

It holds the Hypervisor's token, so it can make ultracalls behind the honest one's back, and the Ultravisor's
at the Hypervisor's door, where normal memory is. Pages that it does what it likes with are those of an
accomplice: a normal VM of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from pef_lab.between.script import Exchange, ScriptedBetween
from pef_lab.between.wire import Between
from pef_lab.endpoint import Endpoint, understood
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal, Unanswered
from pef_lab.hostile.memory import NormalMemoryDoor
from pef_lab.hostile.requests import NAMES
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.http import EPOCH_PATH, OBSERVER_PATH, Role
from pef_protocol.quantities import PAGE_SIZE, Lpid

PLACING: Final = frozenset({"UV_PAGE_IN", "UV_PAGE_OUT"})
"""Calls that name real addresses."""
DESTROYING: Final = 30.0
"""Seconds that the end of a VM is waited for: a Hypervisor whose Ultravisor is gone waits for ever."""


@dataclass
class Ground:
    """A pair under attack. `patience`: seconds after which its Ultravisor gives a call up; 0: not known.

    `spares` is the real address of the accomplice's pages, once there is one.
    """

    endpoints: Endpoints
    to_ultravisor: ScriptedBetween
    to_hypervisor: ScriptedBetween
    tokens: Mapping[Role, str] = field(repr=False)
    patience: float
    hypervisor: Endpoint
    ultravisor: Endpoint
    observers: Mapping[Side, Endpoint]
    vmm: Vmm
    watch: Watch
    memory: NormalMemoryDoor
    epoch: str
    machine_public_key: bytes = b""
    spares: int = 0

    async def ultracall(self, request: object) -> Reply:
        """Make an ultracall as the Hypervisor, behind the honest one's back."""
        return await self.hypervisor.call(NAMES[type(request)], request)

    async def hypercall(self, request: object) -> Reply:
        """Make a hypercall as the Ultravisor."""
        return await self.ultravisor.call(NAMES[type(request)], request)

    async def digests(self) -> dict[Side, str]:
        """Return the digest of each side."""
        shown = {side: await door.view(OBSERVER_PATH + "digest") for side, door in self.observers.items()}
        with understood("the digests of both sides"):
            return {side: str(view["digest"]) for side, view in shown.items()}

    async def destroy(self, lpid: Lpid) -> None:
        """Destroy what is left of a VM, whatever state an attack has left it in; a bounded time is waited."""
        try:
            async with asyncio.timeout(DESTROYING):
                await self.vmm.destroy(lpid)
        except (Refusal, Unanswered, TimeoutError):
            return

    @property
    def exchanges(self) -> Iterator[Exchange]:
        """Yield all that has passed between the two, either way, since the last attempt began."""
        yield from self.to_hypervisor.exchanges
        yield from self.to_ultravisor.exchanges

    def begin_anew(self) -> None:
        """Be honest, and forget what has passed."""
        for between in (self.to_hypervisor, self.to_ultravisor):
            between.honest_again()
            between.exchanges.clear()

    def placed(self, lpid: int) -> dict[int, int]:
        """Return the real address of each GFN that the Hypervisor has named to the Ultravisor."""
        found: dict[int, int] = {}
        for exchange in self.to_ultravisor.exchanges:
            form = exchange.form()
            if exchange.name not in PLACING or form.get("lpid") != lpid:
                continue
            for ra, gpa, count in form["runs"]:
                for page in range(count):
                    found[gpa // PAGE_SIZE + page] = ra + page * PAGE_SIZE
        return found

    def spare(self, number: int = 0) -> int:
        """Return the real address of a normal page of the accomplice."""
        return self.spares + number * PAGE_SIZE


@asynccontextmanager
async def occupied(between: Between[ScriptedBetween], patience: float) -> AsyncIterator[Ground]:
    """Enter all doors of a pair."""
    endpoints, tokens = between.endpoints, between.visor_tokens
    urls = {Side.ULTRAVISOR: endpoints.ultravisor_url, Side.HYPERVISOR: endpoints.hypervisor_url}
    async with AsyncExitStack() as stack:

        async def door(side: Side, token: str, epoch: str = "") -> Endpoint:
            return await stack.enter_async_context(Endpoint(side.capitalize(), urls[side], token, epoch))

        observer = await door(Side.ULTRAVISOR, endpoints.observer_token)
        shown = await observer.view(EPOCH_PATH)
        with understood("the Ultravisor's epoch"):
            epoch = str(shown["epoch"])

        yield Ground(
            endpoints,
            between.before_ultravisor,
            between.before_hypervisor,
            tokens,
            patience,
            await door(Side.ULTRAVISOR, tokens[Role.HYPERVISOR], epoch),
            await door(Side.HYPERVISOR, tokens[Role.ULTRAVISOR], epoch),
            {side: await door(side, endpoints.observer_token) for side in Side},
            await stack.enter_async_context(Vmm(endpoints)),
            await stack.enter_async_context(Watch(endpoints)),
            await stack.enter_async_context(
                NormalMemoryDoor(endpoints.hypervisor_url, tokens[Role.ULTRAVISOR], epoch)
            ),
            epoch,
        )
