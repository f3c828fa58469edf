"""A VM of a pair in containers, led by the lab's own actors from outside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from pef_lab.designs.run import image_for
from pef_lab.door import Door
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal, Unanswered
from pef_lab.guest import Guest
from pef_lab.image import GuestImage
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.calls import Reply
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, Lpid
from pef_protocol.wire import OBSERVER_PATH

MEMORY: Final = 256 << 20


@dataclass(frozen=True)
class ContainedVm:
    """A VM with its guest, VMM and observer; `free` is an address in its memory, far from its image."""

    guest: Guest
    vmm: Vmm
    watch: Watch
    image: GuestImage
    free: int = MEMORY // 2

    @property
    def lpid(self) -> Lpid:
        """Return its lpid."""
        return self.guest.lpid

    async def secure(self) -> Reply:
        """Make UV_ESM."""
        return await self.guest.enter_secure_mode(self.image.kernel_base, self.image.fdt_address)


@asynccontextmanager
async def one_vm(endpoints: Endpoints, design: Design = Design.TRACKED) -> AsyncIterator[ContainedVm]:
    """Make a VM whose image is loaded; destroy it at the end if there is still somebody who can."""
    async with Watch(endpoints) as watch, Vmm(endpoints) as vmm:
        image = image_for(MEMORY, await watch.machine_public_key())
        lpid = await vmm.create(design)
        try:
            await vmm.plug(lpid, 0, 0, MEMORY)
            for gpa, content in image.layout:
                await vmm.write(lpid, gpa, content)
            async with Guest(endpoints, lpid) as guest:
                yield ContainedVm(guest, vmm, watch, image)
        finally:
            with suppress(Refusal, Unanswered):
                await vmm.destroy(lpid)


async def broken(url: str, observer_token: str) -> list[str]:
    """Return what a side says is broken of its own invariants."""
    async with Door(url, url, observer_token) as door:
        found: list[str] = (await door.view(OBSERVER_PATH + "invariants"))["broken"]
        return found


async def lives_through_uv_esm(endpoints: Endpoints) -> None:
    """Check that a new VM becomes secure and keeps a page through its way out and in."""
    async with one_vm(endpoints) as vm:
        assert (await vm.secure()).code.succeeded
        page = bytes([7]) * PAGE_SIZE
        await vm.guest.store(vm.free, page)
        assert await vm.vmm.read(vm.lpid, vm.free, PAGE_SIZE) != page
        assert await vm.guest.load(vm.free, PAGE_SIZE) == page
