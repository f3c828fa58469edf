"""Three tenants on a pair of services: as `crash.tenants`, by the endpoints of guests and of the VMM."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, TypeVar

from crash.memory import canary
from crash.pair import KillablePair
from crash.tenants import PAGES, image_for
from pef_lab.failures import Refusal, Unanswered
from pef_lab.guest import Guest, World
from pef_lab.image import GuestImage
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE

T = TypeVar("T")

PRIVATE: Final = 100
OUT: Final = 101
SHARED: Final = 102
TAKEN: Final = 103
"""Shared, and taken away by the host."""
MARKED: Final = (PRIVATE, OUT, SHARED, TAKEN)
BYTES: Final = 32
LONGEST: Final = 60.0
"""Seconds for which a side may be busy with what survived."""
STEP: Final = 0.01
WAITS: Final = ("EBUSY", "HTTP status 503", "HTTP status 429", "HTTP status 425")
"""How a side says that it is worth another try."""


@dataclass(slots=True)
class HttpTenant:
    """Who has a VM: its guest, and what each page that it marked should read as."""

    name: str
    guest: Guest
    marked: dict[int, bytes] = field(default_factory=dict)

    @property
    def lpid(self) -> int:
        """Return the lpid of its VM."""
        return self.guest.lpid

    @property
    def secure(self) -> bool:
        """Tell whether its loads and stores go to the Ultravisor."""
        return self.guest.world is World.SECURE

    async def mark(self, *gfns: int) -> None:
        """Have the guest store a canary into pages."""
        for gfn in gfns:
            self.marked[gfn] = canary(self.name if self.secure else self.name.lower(), gfn)
            await self.guest.store(gfn * PAGE_SIZE, self.marked[gfn])

    async def load(self, gfn: int) -> bytes:
        """Load the start of a page."""
        return await self.guest.load(gfn * PAGE_SIZE, BYTES)


async def until_free(what: Callable[[], Awaitable[T]]) -> T:
    """Do something, again while a side says that it is busy; raise what it says in the end."""
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST
    while True:
        try:
            return await what()
        except (Refusal, Unanswered) as reason:
            if not any(word in str(reason) for word in WAITS) or loop.time() > end:
                raise
        await asyncio.sleep(STEP)


class HttpHost:
    """The VMM and the guests of a pair."""

    def __init__(self, pair: KillablePair, stack: AsyncExitStack) -> None:
        self.pair = pair
        self._stack = stack

    async def guest(self, lpid: int, *, counts: bool = False) -> Guest:
        """Return the guest that has `lpid` now; `counts`: so do its calls."""
        return await self._stack.enter_async_context(await self.pair.guest(lpid, counts=counts))

    async def new(self, name: str, *more: int, counts: bool = False) -> HttpTenant:
        """Give a tenant a normal VM with canaries; `more` slots (pages); `counts`: so do its calls."""
        vmm = self.pair.vmm
        lpid = await until_free(lambda: vmm.create(Design.TRACKED))
        tenant = HttpTenant(name, await self.guest(lpid, counts=counts))
        for slot, pages in enumerate((PAGES, *more)):
            await vmm.plug(lpid, slot, slot * PAGES * PAGE_SIZE, pages * PAGE_SIZE)
            await tenant.mark(*(slot * PAGES + gfn for gfn in MARKED))
        return tenant

    async def load_image(self, tenant: HttpTenant, public_key: bytes) -> GuestImage:
        """Put the image into a normal VM."""
        image = image_for(public_key)
        for gpa, content in image.layout:
            await self.pair.vmm.write(tenant.guest.lpid, gpa, content)
        return image

    async def enter(self, tenant: HttpTenant, public_key: bytes) -> None:
        """Make a VM secure; raise Refusal where UV_ESM does not succeed."""
        image = await self.load_image(tenant, public_key)
        reply = await tenant.guest.enter_secure_mode(image.kernel_base, image.fdt_address)
        if not reply.code.succeeded:
            raise Refusal("UV_ESM", reply.code.name, reply.detail)

    async def secure(self, tenant: HttpTenant) -> None:
        """Make a VM secure, with a page of each kind."""
        await self.enter(tenant, await self.pair.public_key())
        await tenant.guest.share(SHARED, 2)
        await tenant.mark(*MARKED)
        await self.pair.vmm.read(tenant.guest.lpid, OUT * PAGE_SIZE, 8)
        await self.pair.vmm.unmap(tenant.guest.lpid, TAKEN * PAGE_SIZE, 1)
