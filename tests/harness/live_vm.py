"""A VM of a live pair: its guest, its image, and what its guest wrote where."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from harness.live import LivePair
from pef_lab.failures import Refusal, Unanswered
from pef_lab.guest import Guest, World
from pef_lab.hostile.canaries import Flock
from pef_lab.hostile.victim import flipped
from pef_lab.image import GuestImage, build_image
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, Lpid, gfn_of, gpa_of, pages_in

MEMORY: Final = 16 << 20
FREE: Final = 100
"""From this GFN on a guest may use pages, up to GFN 200, beside its image and the bounce pages."""
BLANK: Final = bytes(PAGE_SIZE)


@dataclass(slots=True)
class LiveVm:
    """A VM. `wrote` is what its guest should read of each page that it wrote since it is secure."""

    pair: LivePair = field(repr=False)
    guest: Guest
    image: GuestImage = field(repr=False)
    design: Design
    flock: Flock = field(default_factory=Flock)
    wrote: dict[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def lpid(self) -> Lpid:
        """Return its lpid."""
        return self.guest.lpid

    async def load_image(self) -> None:
        """Write the image as the host does before a boot."""
        for gpa, content in self.image.layout:
            await self.pair.vmm.write(self.lpid, gpa, content)

    async def secure(self) -> Reply:
        """Make UV_ESM."""
        return await self.guest.enter_secure_mode(self.image.kernel_base, self.image.fdt_address)

    async def boot(self) -> None:
        """Load the image and become secure."""
        await self.load_image()
        reply = await self.secure()
        assert reply.code is UCode.U_SUCCESS, reply

    async def write(self, gfn: int, name: str = "") -> bytes:
        """Have the guest fill a page with a new canary; return the page."""
        page = self.flock.page(name or f"page {gfn:#x} of VM {self.lpid}")
        await self.guest.store(gpa_of(gfn), page)
        self.wrote[gfn] = page
        return page

    async def load(self, gfn: int) -> bytes:
        """Return a page as the guest reads it."""
        return await self.guest.load(gpa_of(gfn), PAGE_SIZE)

    async def host_read(self, gfn: int) -> bytes:
        """Return a page as the host reads it."""
        return await self.pair.vmm.read(self.lpid, gpa_of(gfn), PAGE_SIZE)

    async def page_out(self, gfn: int) -> bytes:
        """Have the host touch a secure page; return the ciphertext."""
        sealed = await self.host_read(gfn)
        assert sealed not in (self.wrote.get(gfn), BLANK)
        return sealed

    async def reads_what_it_wrote(self) -> None:
        """Check that the guest reads each page as it wrote it."""
        for gfn, page in self.wrote.items():
            assert await self.load(gfn) == page, f"page {gfn:#x} is not what the guest wrote"

    async def image_is_whole(self) -> None:
        """Check that the guest reads the measured parts of its image as they were built."""
        parts = (
            (self.image.kernel_base, self.image.kernel),
            (self.image.initrd_address, self.image.initrd),
            (self.image.rtas_address, self.image.rtas),
        )
        for gpa, content in parts:
            assert await self.guest.load(gpa, len(content)) == content, f"image changed at {gpa:#x}"

    def ra(self, gfn: int) -> int:
        """Return the real address at which the Hypervisor keeps a GFN of the first slot."""
        at = self.pair.placed(self.lpid)
        known = next(known for known in at if known < gfn_of(self.image.memory_size))
        return at[known] + gpa_of(gfn) - gpa_of(known)

    def image_gfns(self) -> set[int]:
        """Return the GFNs of the image."""
        return {
            gfn_of(gpa) + page for gpa, content in self.image.layout for page in range(pages_in(len(content)))
        }


@asynccontextmanager
async def live_vm(
    pair: LivePair,
    design: Design = Design.TRACKED,
    *,
    memory: int = MEMORY,
    change: Callable[[GuestImage], GuestImage] = lambda image: image,
    disk_key: bytes = b"",
) -> AsyncIterator[LiveVm]:
    """Create a VM with a small image, changed as the test likes; destroy it at the end.

    `disk_key` is the one file attached to its ESM blob.
    """
    image = build_image(
        memory_size=memory,
        machine_public_key=await pair.watch.machine_public_key(),
        bootargs="quiet",
        files={"disk-key": disk_key or secrets.token_bytes(100)},
        seed=7,
        kernel_size=3 * PAGE_SIZE,
        initrd_size=2 * PAGE_SIZE,
    )
    async with AsyncExitStack() as stack:
        lpid = await pair.vmm.create(design)
        stack.push_async_callback(_destroy, pair, lpid)
        guest = await stack.enter_async_context(Guest(pair.endpoints, lpid))
        await pair.vmm.plug(lpid, 0, 0, memory)
        yield LiveVm(pair, guest, change(image), design)


async def _destroy(pair: LivePair, lpid: Lpid) -> None:
    """Destroy what is left of a VM, whatever state a test has left it in."""
    try:
        await pair.vmm.destroy(lpid)
    except (Refusal, Unanswered):
        return


@asynccontextmanager
async def secure_vm(pair: LivePair, design: Design = Design.TRACKED) -> AsyncIterator[LiveVm]:
    """Create a VM and make it secure."""
    async with live_vm(pair, design) as vm:
        await vm.boot()
        yield vm


__all__ = ["BLANK", "FREE", "MEMORY", "LiveVm", "World", "flipped", "live_vm", "secure_vm"]
