"""A VM that is attacked: its guest, its image, and what its guest wrote where."""

import secrets
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pef_lab.failures import Refusal
from pef_lab.guest import Guest
from pef_lab.hostile.canaries import Flock
from pef_lab.hostile.ground import Ground
from pef_lab.image import GuestImage, build_image
from pef_protocol.calls import Reply
from pef_protocol.designs import DesignName
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, Lpid, gfn_of, gpa_of

MEMORY: Final = 16 << 20
FREE: Final = 100
"""From this GFN on a guest may use pages, up to GFN 200, beside its image and the bounce pages."""
BLANK: Final = bytes(PAGE_SIZE)
NO_SLOT: Final = "no slot"
RESOLVED: Final = "resolved"
DISK_KEY: Final = "disk-key"
BOOTARGS: Final = "quiet"
SEED: Final = 7


@dataclass(slots=True)
class Victim:
    """A VM. `wrote` is what its guest should read of each page that it wrote since it is secure."""

    ground: Ground = field(repr=False)
    guest: Guest
    image: GuestImage = field(repr=False)
    design: DesignName
    flock: Flock = field(default_factory=Flock)
    wrote: dict[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def lpid(self) -> Lpid:
        """Return its lpid."""
        return self.guest.lpid

    async def load_image(self) -> None:
        """Write the image as the host does before a boot."""
        for gpa, content in self.image.layout:
            await self.ground.vmm.write(self.lpid, gpa, content)

    async def enter(self) -> Reply:
        """Make UV_ESM."""
        return await self.guest.enter_secure_mode(self.image.kernel_base, self.image.fdt_address)

    async def boot(self) -> None:
        """Load the image and become secure; raise Refusal where UV_ESM is refused."""
        await self.load_image()
        reply = await self.enter()
        if not reply.code.succeeded:
            raise Refusal("UV_ESM", reply.code.name, reply.detail)

    async def write(self, gfn: int, *, public: bool = False) -> bytes:
        """Have the guest fill a page with a new canary, or with bytes that anybody may see; return it."""
        name = f"page {gfn:#x} of VM {self.lpid}"
        page = secrets.token_bytes(PAGE_SIZE) if public else self.flock.page(name)
        await self.guest.store(gpa_of(gfn), page)
        self.wrote[gfn] = page
        return page

    async def load(self, gfn: int) -> bytes:
        """Return a page as the guest reads it."""
        return await self.guest.load(gpa_of(gfn), PAGE_SIZE)

    async def try_to_load(self, gfn: int) -> str:
        """Have the guest load a page; say that it resolved, or why it was refused."""
        try:
            await self.load(gfn)
        except Refusal as refusal:
            return refusal.detail
        return RESOLVED

    async def host_read(self, gfn: int) -> bytes:
        """Return a page as the host reads it: of a private page, the ciphertext that is made for it."""
        return await self.ground.vmm.read(self.lpid, gpa_of(gfn), PAGE_SIZE)

    def ra(self, gfn: int) -> int:
        """Return the real address at which the Hypervisor keeps a GFN of the first slot."""
        at = self.ground.placed(self.lpid)
        known = next(known for known in at if known < gfn_of(self.image.memory_size))
        return at[known] + gpa_of(gfn) - gpa_of(known)

    async def state_of(self, gfn: int, side: Side = Side.ULTRAVISOR) -> str:
        """Return the state of a GFN as a side shows it."""
        runs = [run for slot in await self.ground.watch.slots(side, self.lpid) for run in slot.states]
        return next((state for first, count, state in runs if first <= gfn < first + count), NO_SLOT)

    async def state(self, side: Side = Side.ULTRAVISOR) -> str:
        """Return the state of the VM as a side lists it; nothing where it does not."""
        record = (await self.ground.watch.vms(side))[0].get(self.lpid)
        return record.state if record else ""

    async def in_flight(self) -> int:
        """Return how many GFNs either side calls in flight, or has in a state of an open call."""
        slots = [slot for side in Side for slot in await self.ground.watch.slots(side, self.lpid)]
        passing = [count for slot in slots for _, count, state in slot.states if state.startswith("HV_")]
        return sum(slot.moving for slot in slots) + sum(passing)


def small_image(machine_public_key: bytes, disk_key: bytes) -> GuestImage:
    """Build a small image for a machine; `disk_key` is the one file attached to its ESM blob."""
    return build_image(
        memory_size=MEMORY,
        machine_public_key=machine_public_key,
        bootargs=BOOTARGS,
        files={DISK_KEY: disk_key},
        seed=SEED,
        kernel_size=3 * PAGE_SIZE,
        initrd_size=2 * PAGE_SIZE,
    )


def flipped(image: GuestImage, part: str, at: int) -> GuestImage:
    """Return an image with one bit of one part flipped."""
    content = bytearray(getattr(image, part))
    content[at] ^= 1
    changed: dict[str, Any] = {part: bytes(content)}
    return replace(image, **changed)
