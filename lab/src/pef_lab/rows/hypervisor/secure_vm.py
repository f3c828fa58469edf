"""A VM that a pair has made secure by UV_ESM, with GFNs in the states that an SVM's can have."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Self

from pef_lab.image import GuestImage, build_image
from pef_lab.rows.doors import Answer, Doors, json_of, kernel_of
from pef_lab.rows.hypervisor.outside import OCTETS_SENT, Outside, must
from pef_lab.rows.hypervisor.vms import Letter, MadeVm, SlotPlan, VmPlan, created, page_of
from pef_lab.rows.stage import Stage
from pef_protocol.http import GUEST_PATH, OCTETS
from pef_protocol.quantities import PAGE_SIZE, Gfn, gpa_of, pages_in
from pef_protocol.ultracalls import Esm, SharePage, UnsharePage

MEMORY: Final = 16 << 20
SLOTS: Final = (SlotPlan(5, 0, pages_in(MEMORY)),)
PLUGGED: Final = (SlotPlan(2, pages_in(MEMORY), 8), SlotPlan(9, 2 * pages_in(MEMORY), 8))
"""A slot that abuts and one beyond a gap, plugged into the secure VM."""
FREE: Final = 100
"""From this GFN on a guest may use pages, up to GFN 200, beside its image and the bounce pages."""
EACH: Final = {FREE: Letter.S, FREE + 1: Letter.P, FREE + 2: Letter.H}
NONE: Final[Mapping[int, Letter]] = MappingProxyType({})
DONE: Final = "U_SUCCESS"


@dataclass
class Images:
    """The images of a pass: built once, for the Ultravisor's machine. A flaw is one flipped bit of a part."""

    whole: GuestImage

    @classmethod
    async def set(cls, stage: Stage) -> Self:
        """Ask for the machine's key and build an image."""
        ultravisor, what = stage.ultravisor, "/v1/machine-key"
        key = json_of(f"{what} at the {ultravisor.name}", await ultravisor.ask(kernel_of(1), "GET", what))
        image = build_image(
            memory_size=MEMORY,
            machine_public_key=bytes.fromhex(key["public_key"]),
            bootargs="quiet",
            files={},
            seed=11,
            kernel_size=2 * PAGE_SIZE,
            initrd_size=PAGE_SIZE,
        )
        return cls(image)

    def with_flaw(self, part: str) -> GuestImage:
        """Return the image with one bit of a part flipped, or as it is where no part is named."""
        if not part:
            return self.whole
        content = bytearray(getattr(self.whole, part))
        content[len(content) // 2] ^= 1
        parts: dict[str, Any] = {part: bytes(content)}
        return replace(self.whole, **parts)

    async def infer(self) -> tuple[str, ...]:
        """Return nothing: an image does not change."""
        return ()

    async def strike(self) -> None:
        """Do nothing: an image is not with the subject."""


@dataclass(frozen=True)
class Guest:
    """The kernel of a VM, at the Ultravisor's door. `image` lies in its memory."""

    outside: Outside
    lpid: int
    image: GuestImage = field(repr=False)

    @property
    def _doors(self) -> Doors:
        return self.outside.stage.ultravisor

    async def enter(self) -> Answer:
        """Make UV_ESM."""
        return await self._doors.call(
            kernel_of(self.lpid), Esm(self.image.kernel_base, self.image.fdt_address)
        )

    async def share(self, gfn: int, num: int = 1) -> str:
        """Make UV_SHARE_PAGE; return its code."""
        return (await self._doors.call(kernel_of(self.lpid), SharePage(Gfn(gfn), num))).code

    async def unshare(self, gfn: int, num: int = 1) -> str:
        """Make UV_UNSHARE_PAGE; return its code."""
        return (await self._doors.call(kernel_of(self.lpid), UnsharePage(Gfn(gfn), num))).code

    async def load(self, gfn: int) -> bytes | None:
        """Return a page as the secure VM loads it, or None where the access is refused."""
        query = {"gpa": gpa_of(gfn), "length": PAGE_SIZE}
        path = GUEST_PATH + "load"
        answer = await self._doors.ask(
            kernel_of(self.lpid), "POST", path, params=query, content=b"", headers=OCTETS_SENT
        )
        kind = answer.headers.get("content-type", "")
        return bytes(answer.content) if kind.startswith(OCTETS) else None

    async def store(self, gfn: int, content: bytes) -> str:
        """Write a page as the secure VM does; return whether the access was resolved."""
        path = GUEST_PATH + "store"
        form = {"params": {"gpa": gpa_of(gfn)}, "content": content, "headers": OCTETS_SENT}
        answer = await self._doors.ask(kernel_of(self.lpid), "POST", path, **form)
        return str(json_of(f"{path} at the {self._doors.name}", answer).get("access", answer.status_code))


async def loaded(outside: Outside, plan: VmPlan, flaw: str = "") -> Guest:
    """Create a VM of one slot, its named GFNs written, an image in its memory: all but UV_ESM is done."""
    vm = await created(outside, replace(plan, slots=SLOTS))
    image = (await outside.stage.scene(Images)).with_flaw(flaw)
    for gpa, content in image.layout:
        must("the image is loaded", await outside.write(vm.lpid, gpa // PAGE_SIZE, content))
    return Guest(outside, vm.lpid, image)


async def bring(guest: Guest, gfns: Mapping[int, Letter]) -> None:
    """Have the guest write pages, then share them or have the host page them out."""
    for gfn, letter in gfns.items():
        must("a store", await guest.store(gfn, page_of(guest.lpid, gfn)), "resolved")
        if letter is Letter.P:
            seen = await guest.outside.read(guest.lpid, gfn)
            must("the host reads", seen if isinstance(seen, str) else "OK")
        elif letter is Letter.H:
            must("UV_SHARE_PAGE", await guest.share(gfn), DONE)


async def secure_vm(outside: Outside, plan: VmPlan) -> MadeVm:
    """Make a VM secure by UV_ESM; it has two more slots, and a GFN of each state."""
    guest = await loaded(outside, replace(plan, gfns=NONE))
    must("UV_ESM", (await guest.enter()).code, DONE)
    for slot in PLUGGED:
        must("a slot is plugged", await outside.plug(guest.lpid, slot.slotid, slot.first, slot.pages))
    await bring(guest, EACH)
    return MadeVm(guest.lpid, replace(plan, slots=(*SLOTS, *PLUGGED), gfns=EACH))
