"""Three tenants of a pair in containers, each with bytes that nobody else may read, and each at work."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from compose.fixture import ContainedVm, one_vm
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal, Unanswered
from pef_protocol.calls import Reply
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE

SIZE: Final = 64 << 20
CANARY_BYTES: Final = 32
IN_THE_MIDST: Final = 100
"""Hypercalls of a UV_ESM after which it is in the midst; it needs some 24,000."""
LASTING: Final = 24
"""How much larger a VM is whose UV_ESM has to last until a side has died."""


@dataclass
class Offload:
    """Rounds of loads and stores, one after another, until one is not answered as it should be."""

    round: Callable[[], Awaitable[None]]
    ended_by: Exception | None = None
    _done: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Offload":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        try:
            while True:
                await self.round()
                self._done.set()
        except (Refusal, Unanswered) as reason:
            self.ended_by = reason
        finally:
            self._done.set()

    async def rounds(self, number: int) -> None:
        """Wait until that many more rounds have come out well; fail where one did not."""
        for _ in range(number):
            self._done.clear()
            assert self.ended_by is None, self.ended_by
            await self._done.wait()
        assert self.ended_by is None, self.ended_by

    async def end(self) -> Exception:
        """Wait until a round does not come out well, and return why."""
        assert self._task is not None
        await self._task
        assert self.ended_by is not None
        return self.ended_by


@dataclass(frozen=True)
class Tenant:
    """A VM, the bytes that are its own, and the work that it does with them.

    `shared` lies in a page that a secure VM shares with the Hypervisor; a normal VM has no such page.
    """

    vm: ContainedVm
    private: bytes = field(default_factory=lambda: secrets.token_bytes(CANARY_BYTES), repr=False)
    shared: bytes = field(default_factory=lambda: secrets.token_bytes(CANARY_BYTES), repr=False)

    @property
    def shared_gpa(self) -> int:
        """Return the address of the page that it shares."""
        return self.vm.free + PAGE_SIZE

    async def works(self) -> None:
        """Store and load what is its own."""
        await self.vm.guest.store(self.vm.free, self.private)
        assert await self.vm.guest.load(self.vm.free, CANARY_BYTES) == self.private

    async def works_in_secret(self) -> None:
        """Do the same as an SVM: the host pages it out meanwhile, and another page is shared anew."""
        await self.works()
        await self.vm.vmm.read(self.vm.lpid, self.vm.free, CANARY_BYTES)
        assert await self.vm.guest.load(self.vm.free, CANARY_BYTES) == self.private
        await self.vm.guest.unshare(self.shared_gpa >> PAGE_ORDER)
        await self.vm.guest.share(self.shared_gpa >> PAGE_ORDER)
        await self.vm.guest.store(self.shared_gpa, self.shared)


@dataclass(frozen=True)
class Tenants:
    """Two secure VMs and a normal one. `entering` is the UV_ESM of the second, where it is under way."""

    secure: tuple[Tenant, Tenant]
    normal: Tenant
    secure_work: tuple[Offload, ...]
    normal_work: Offload
    entering: asyncio.Task[Reply] | None

    @property
    def canaries(self) -> set[bytes]:
        """Return all that is some tenant's own."""
        return {each for tenant in (*self.secure, self.normal) for each in (tenant.private, tenant.shared)}

    @property
    def secrets(self) -> set[bytes]:
        """Return what was only ever in secure memory since its VM became secure."""
        return {tenant.private for tenant in (self.secure if self.entering is None else self.secure[:1])}

    async def have_ended(self, *works: Offload) -> None:
        """Wait until that work has ended, and the UV_ESM that is under way, which did not succeed."""
        for work in works:
            await work.end()
        if self.entering is not None:
            with suppress(Unanswered):
                assert not (await self.entering).code.succeeded


@asynccontextmanager
async def three_tenants(endpoints: Endpoints, *, entering: bool) -> AsyncIterator[Tenants]:
    """Have three tenants at work; with `entering`, the second is in the midst of its UV_ESM."""
    async with AsyncExitStack() as stack:
        one, other, normal = [
            Tenant(await stack.enter_async_context(one_vm(endpoints, design, size)))
            for design, size in (
                (Design.TRACKED, SIZE),
                (Design.EAGER, SIZE * LASTING if entering else SIZE),
                (Design.TRACKED, SIZE),
            )
        ]
        call = None
        secure = [one] if entering else [one, other]
        for tenant in secure:
            assert (await tenant.vm.secure()).code.succeeded
            await tenant.vm.guest.share(tenant.shared_gpa >> PAGE_ORDER)
        work = [await stack.enter_async_context(Offload(tenant.works_in_secret)) for tenant in secure]
        normal_work = await stack.enter_async_context(Offload(normal.works))
        for each in (*work, normal_work):
            await each.rounds(1)
        if entering:
            await other.works()
            call = await _begin_uv_esm(other.vm)
            stack.callback(call.cancel)
        yield Tenants((one, other), normal, tuple(work), normal_work, call)


async def _begin_uv_esm(vm: ContainedVm) -> asyncio.Task[Reply]:
    """Begin a UV_ESM and return it when it is in the midst."""
    before = await vm.watch.counters()
    call = asyncio.create_task(vm.secure())
    while (await vm.watch.counters()).since(before).hypercalls < IN_THE_MIDST:
        assert not call.done(), "UV_ESM ended before it could be disturbed"
    return call
