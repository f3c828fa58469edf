"""A VM of a pair in containers, led by the lab's own actors from outside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from compose.containers import Project
from pef_lab.designs.run import image_for
from pef_lab.endpoint import Endpoint
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal, Unanswered
from pef_lab.guest import Guest
from pef_lab.image import GuestImage
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.calls import Reply
from pef_protocol.designs import Design
from pef_protocol.http import OBSERVER_PATH
from pef_protocol.quantities import PAGE_SIZE, Lpid

MEMORY: Final = 256 << 20

FIND: Final = """
import glob, os, sys
wanted, found = [bytes.fromhex(word) for word in sys.argv[1:]], set()
for path in glob.glob("/normal-memory/normal-memory-*"):
    handle, place = os.open(path, os.O_RDONLY), 0
    while True:
        try:
            place = os.lseek(handle, place, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(handle, place, os.SEEK_HOLE)
        while place < end:
            piece = os.pread(handle, min(1 << 24, end - place), place)
            found.update(each for each in wanted if each in piece)
            place += len(piece)
print(*(each.hex() for each in found))
"""
"""Looks for bytes in all of normal memory that was ever touched, in every file that there is."""


@dataclass(frozen=True)
class ContainedVm:
    """A VM of `size` bytes with its guest, VMM and observer."""

    guest: Guest
    vmm: Vmm
    watch: Watch
    image: GuestImage
    size: int = MEMORY

    @property
    def free(self) -> int:
        """Return an address in its memory, far from its image."""
        return self.size // 2

    @property
    def lpid(self) -> Lpid:
        """Return its lpid."""
        return self.guest.lpid

    async def secure(self) -> Reply:
        """Make UV_ESM."""
        return await self.guest.enter_secure_mode(self.image.kernel_base, self.image.fdt_address)


def found_in_normal_memory(pair: Project, *contents: bytes) -> set[bytes]:
    """Return which of these contents lie within a page of the volume, in clear, as the Hypervisor's user."""
    reported = pair.python("hypervisor", FIND, *(content.hex() for content in contents))
    return {bytes.fromhex(word) for word in reported.split()}


@asynccontextmanager
async def one_vm(
    endpoints: Endpoints, design: Design = Design.TRACKED, size: int = MEMORY
) -> AsyncIterator[ContainedVm]:
    """Make a VM whose image is loaded; destroy it at the end if there is still somebody who can."""
    async with Watch(endpoints) as watch, Vmm(endpoints) as vmm:
        image = image_for(size, await watch.machine_public_key())
        lpid = await vmm.create(design)
        try:
            await vmm.plug(lpid, 0, 0, size)
            for gpa, content in image.layout:
                await vmm.write(lpid, gpa, content)
            async with Guest(endpoints, lpid) as guest:
                yield ContainedVm(guest, vmm, watch, image, size)
        finally:
            with suppress(Refusal, Unanswered):
                await vmm.destroy(lpid)


async def broken(url: str, observer_token: str) -> list[str]:
    """Return what a side says is broken of its own invariants."""
    async with Endpoint(url, url, observer_token) as endpoint:
        found: list[str] = (await endpoint.view(OBSERVER_PATH + "invariants"))["broken"]
        return found


async def lives_through_uv_esm(endpoints: Endpoints) -> None:
    """Check that a new VM becomes secure and keeps a page through its way out and in."""
    async with one_vm(endpoints) as vm:
        assert (await vm.secure()).code.succeeded
        page = bytes([7]) * PAGE_SIZE
        await vm.guest.store(vm.free, page)
        assert await vm.vmm.read(vm.lpid, vm.free, PAGE_SIZE) != page
        assert await vm.guest.load(vm.free, PAGE_SIZE) == page
