"""VMs for the Ultravisor's rows: made by whatever host there is, made secure, looked at by their guests."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Self

from pef_lab.failures import Unanswered
from pef_lab.image import GuestImage, build_image
from pef_lab.image.flat_tree import read as read_tree
from pef_lab.rows.doors import HYPERVISOR, Answer, Who, json_of, kernel_of
from pef_lab.rows.playing.host import Host, SlotPlan, StandingHost
from pef_lab.rows.playing.hypervisor import PlayedHypervisor
from pef_lab.rows.playing.script import Held
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import NoScene
from pef_protocol.codes import UCode
from pef_protocol.http import GUEST_PATH, OCTETS
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gpa, Lpid, gfn_of, gpa_of, pages_in
from pef_protocol.ultracalls import Esm, SvmTerminate

PAGES: Final = 256
"""GFNs of a VM's memory, in slot 0."""
UPPER: Final = SlotPlan(1, PAGES, 16)
"""A second slot, beside the first."""
FIRST_FREE: Final = 100
"""From this GFN on, up to GFN 200, nothing of the image lies, nor anything that the Ultravisor reserves."""
NO_SLOT: Final = 1 << 20
BLANK: Final = bytes(PAGE_SIZE)
BOOTARGS: Final = "quiet"
FILES: Final = {"key": bytes(range(100)), "read": bytes(range(100, 200))}
ARRIVING: Final = 10.0
"""Seconds after which a hypercall that should come does not."""


def page_of(word: str) -> bytes:
    """Return a page full of a word."""
    return (word.encode() + b" ").ljust(64, b".") * (PAGE_SIZE // 64)


def image_for(public_key: bytes, seed: int = 1) -> GuestImage:
    """Build a small image for the machine of that key."""
    return build_image(
        memory_size=PAGES << PAGE_ORDER,
        machine_public_key=public_key,
        bootargs=BOOTARGS,
        files=FILES,
        seed=seed,
        kernel_size=3 * PAGE_SIZE,
        initrd_size=2 * PAGE_SIZE,
    )


@dataclass(frozen=True)
class Workshop:
    """What a pass needs once: its host, and the image that its VMs boot. It is never struck."""

    stage: Stage = field(repr=False)
    host: Host
    image: GuestImage

    @classmethod
    async def set(cls, stage: Stage) -> Self:
        """Learn the machine's key, and build an image for it."""
        path = "/v1/machine-key"
        response = await stage.ultravisor.ask(HYPERVISOR, "GET", path)
        shown = json_of(f"{path} at the {stage.ultravisor.name}", response)
        try:
            key = bytes.fromhex(shown["public_key"])
        except (KeyError, TypeError, ValueError) as fault:
            raise Unanswered(path, f"no key: {fault}") from None
        played = stage.played
        host = played if isinstance(played, PlayedHypervisor) else StandingHost(stage.hypervisor)
        return cls(stage, host, image_for(key))

    async def infer(self) -> tuple[str, ...]:
        """Return nothing: no VM is here."""
        return ()

    async def strike(self) -> None:
        """Do nothing: there is nothing to end."""


@dataclass
class Vm:
    """A VM and what goes on in it; `image` is what lies in its memory."""

    stage: Stage = field(repr=False)
    host: Host = field(repr=False)
    lpid: int
    image: GuestImage
    _under_way: list[asyncio.Task[Answer]] = field(default_factory=list)

    @classmethod
    async def loaded(
        cls,
        stage: Stage,
        *slots: SlotPlan,
        image: GuestImage | None = None,
        secure_guest: bool = True,
    ) -> Self:
        """Make a normal VM in whose memory the image lies; `slots` are those beside its first."""
        workshop = await stage.scene(Workshop)
        vm = cls(stage, workshop.host, 0, image or workshop.image)
        vm.lpid = await vm.host.new_vm(SlotPlan(0, 0, PAGES), *slots, secure_guest=secure_guest)
        async with kept_if_well(vm):
            for gpa, content in vm.image.layout:
                await vm.host.write(vm.lpid, gpa, content)
        return vm

    @classmethod
    async def secured(cls, stage: Stage, *slots: SlotPlan) -> Self:
        """Make an SVM; raise NoScene where the Ultravisor refuses."""
        vm = await cls.loaded(stage, *slots)
        async with kept_if_well(vm):
            answer = await vm.enter()
            if answer.code != UCode.U_SUCCESS.name:
                raise NoScene(f"UV_ESM of a sound image: {answer.code} {answer.detail}".rstrip())
        return vm

    @property
    def under_way(self) -> bool:
        """Tell whether an ultracall of the VM is held."""
        return any(not task.done() for task in self._under_way)

    @property
    def kernel(self) -> Who:
        """Return the kernel as a caller."""
        return kernel_of(self.lpid)

    @property
    def played(self) -> PlayedHypervisor:
        """Return the Hypervisor that we play; raise NoScene where one stands."""
        if not isinstance(self.host, PlayedHypervisor):
            raise NoScene("a Hypervisor stands here: it answers as it likes")
        return self.host

    async def call(self, request: object) -> Answer:
        """Make an ultracall as the kernel."""
        return await self.stage.ultravisor.call(self.kernel, request)

    async def enter(self) -> Answer:
        """Make UV_ESM."""
        return await self.call(self.esm)

    @property
    def esm(self) -> Esm:
        """Return the UV_ESM that the image is made for."""
        return Esm(Gpa(self.image.kernel_base), Gpa(self.image.fdt_address))

    async def hold(self, request: object, name: str, held: Held) -> asyncio.Task[Answer]:
        """Begin an ultracall; return it when the hypercall `name` within it is held, else raise NoScene."""
        self.played.next(self.lpid, name, held)
        return await self.begin(request, held)

    async def begin(self, request: object, held: Held) -> asyncio.Task[Answer]:
        """Begin an ultracall; return it when `held` has something, else raise NoScene."""
        task = asyncio.create_task(self.call(request))
        return await self.until_held(task, held)

    async def until_held(self, task: asyncio.Task[Answer], held: Held) -> asyncio.Task[Answer]:
        """Return `task` when `held` has something; raise NoScene where it ends first, or nothing comes."""
        self._under_way.append(task)
        arrived = asyncio.create_task(held.arrived.wait())
        await asyncio.wait({task, arrived}, timeout=ARRIVING, return_when=asyncio.FIRST_COMPLETED)
        arrived.cancel()
        if not held.arrived.is_set():
            ended = f"it ended with {task.result().code}" if task.done() else "nothing came"
            raise NoScene(f"what was to be held did not come: {ended}")
        return task

    async def let_go(self) -> str:
        """Release all that is held for the VM; return the code of the ultracall that was."""
        self.played.vm(self.lpid).let_go()
        return (await self._under_way[-1]).code

    async def load(self, gfn: int) -> bytes:
        """Return a page as the guest reads it; nothing where it can't."""
        return await self.load_bytes(gpa_of(gfn), PAGE_SIZE)

    async def load_bytes(self, gpa: int, length: int) -> bytes:
        """Return `length` bytes at `gpa` as the guest reads them; nothing where it can't."""
        form: Mapping[str, int] = {"gpa": gpa, "length": length}
        path = GUEST_PATH + "load"
        response = await self.stage.ultravisor.ask(self.kernel, "POST", path, params=form)
        return response.content if response.headers.get("content-type", "").startswith(OCTETS) else b""

    async def store(self, gfn: int, content: bytes) -> None:
        """Write a page as the guest; raise NoScene where it can't."""
        path, form = GUEST_PATH + "store", {"gpa": gpa_of(gfn)}
        headers = {"content-type": OCTETS}
        response = await self.stage.ultravisor.ask(
            self.kernel, "POST", path, params=form, content=content, headers=headers
        )
        if json_of(path, response).get("access") != "resolved":
            raise NoScene(f"a store of the guest to GFN {gfn} does not resolve")

    async def state_of(self, gfn: int) -> str:
        """Return the state of a GFN as the Ultravisor shows it; nothing where it shows none."""
        if not self.stage.ultravisor.can_be_observed:
            return ""
        slots = (await self.stage.ultravisor.view("gfns", lpid=self.lpid))["slots"]
        runs = [run for slot in slots for run in slot["states"]]
        return next((str(state) for first, count, state in runs if first <= gfn < first + count), "no slot")

    async def bounce_pages(self) -> list[int]:
        """Return the GFNs that the Ultravisor shares for its own use: what it added to the device tree."""
        tree = await self.load_bytes(self.image.fdt_address, len(self.image.device_tree))
        if not tree:
            raise NoScene("the guest can't read its device tree")
        before = set(read_tree(self.image.device_tree).reservations)
        added = sorted(set(read_tree(tree).reservations) - before)
        return [gfn_of(gpa) + page for gpa, size in added for page in range(pages_in(size))]

    async def terminated(self) -> str:
        """Return what UV_SVM_TERMINATE of it answers: U_INVALID of a normal VM, which is not changed."""
        return (await self.stage.ultravisor.call(HYPERVISOR, SvmTerminate(Lpid(self.lpid)))).code

    async def end(self) -> None:
        """End the VM, and what is under way in it."""
        await self.host.destroy(self.lpid)
        for task in self._under_way:
            with suppress(Unanswered, TimeoutError):
                await asyncio.wait_for(task, ARRIVING)


@asynccontextmanager
async def kept_if_well(vm: Vm) -> AsyncIterator[None]:
    """End a VM where what is done with it fails."""
    try:
        yield
    except BaseException:
        await vm.end()
        raise


@asynccontextmanager
async def svm(stage: Stage, *slots: SlotPlan) -> AsyncIterator[Vm]:
    """Make an SVM, and end it afterwards."""
    vm = await Vm.secured(stage, *slots)
    try:
        yield vm
    finally:
        await vm.end()


@asynccontextmanager
async def normal_vm(
    stage: Stage, *slots: SlotPlan, image: GuestImage | None = None, secure_guest: bool = True
) -> AsyncIterator[Vm]:
    """Make a normal VM in whose memory an image lies, and end it afterwards."""
    vm = await Vm.loaded(stage, *slots, image=image, secure_guest=secure_guest)
    try:
        yield vm
    finally:
        await vm.end()
