"""The small system of a counterexample, on a VM with a real guest image.

| GFN of the small system | on the wire |
|---|---|
| `imported` | the page of a kernel of one byte, zero: the last page that UV_ESM asks for |
| `shared` | the Ultravisor's bounce page for the TPM |
| `unmigrated` | a page that the image does not use |
| of the slot to be plugged | the slot right behind the memory of the image |

A page is known by a token of eight bytes in the middle of it; the rest of the page stays as it is. No page of
the small system is written before a step says so.
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pef_kit.runtime.messages import decode_reply, encode_call
from pef_lab.designs.fixture import SVM_STATES
from pef_lab.endpoint import Endpoint
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal, Unanswered
from pef_lab.guest import Guest, World
from pef_lab.image import GuestImage, build_image, lay_out, promise_of, seal_blob
from pef_lab.image.blob import NONCE_SIZE, PAYLOAD_KEY_SIZE
from pef_lab.replay.counterexample import BAD_IMAGE, NOTHING, OF_CIPHERTEXT, System
from pef_lab.replay.words import TOKEN_BYTES, Words
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.calls import CALLS
from pef_protocol.designs import DesignName
from pef_protocol.events import Side
from pef_protocol.http import CALL_ID
from pef_protocol.quantities import PAGE_SIZE, Gfn, Gpa, Lpid, gfn_of, gpa_of
from pef_protocol.states import HvGfnState, HvVmState, UvGfnState, UvVmState
from pef_protocol.ultracalls import Esm, SharePage, UnshareAllPages, UnsharePage

MEMORY: Final = 16 << 20
"""Bytes of the VM's memory before a slot is plugged, unless another number is asked for."""
FIRST_FREE: Final = 100
"""From this GFN on the image uses none, up to its bounce pages."""
TPM_BOUNCE: Final = 7
"""Pages from that page to where bounce pages end: it is the one below the six of RTAS."""
BOUNCE_BELOW: Final = 768 << 20
"""No bounce page lies above this address, however large memory is."""
TOKEN_AT: Final = PAGE_SIZE // 2
PLUGGED: Final = 1
SEED: Final = 7
PRIVATE: Final = frozenset({UvGfnState.SECURE.name, UvGfnState.PAGEDOUT.name})
BOOTARGS: Final = "quiet"
INITRD_SIZE: Final = 2 * PAGE_SIZE
KERNEL: Final = b"\0"
ACCESSES: Final = frozenset({"load", "store"})
ENTERS: Final = frozenset({"UV_ESM", BAD_IMAGE})
ULTRACALLS: Final = frozenset({"share", "unshare", "unshare all"}) | ENTERS
RESETS: Final = frozenset({"reset", "reboot"})
CHANGES: Final = ULTRACALLS | RESETS | {"hot-add", "hot-remove"}
"""What may leave another content in a page than was written there last."""


def mapping(system: System, image: GuestImage) -> dict[int, int]:
    """Return the GFN on the wire of each GFN of `system`."""
    places = {
        "brought": gfn_of(image.kernel_base),
        "shared": min(image.memory_size, BOUNCE_BELOW) // PAGE_SIZE - TPM_BOUNCE,
    }
    found = {gfn: places.get(role, FIRST_FREE + gfn) for gfn, role in enumerate(system.image)}
    plugged = (gfn - len(system.image) for gfn in system.gfns[len(system.image) :])
    return found | {len(found) + place: image.memory_size // PAGE_SIZE + place for place in plugged}


def image_for(machine_public_key: bytes, memory: int = MEMORY) -> GuestImage:
    """Build a small image for a machine, for a VM with `memory` bytes."""
    built = build_image(
        memory_size=memory,
        machine_public_key=machine_public_key,
        bootargs=BOOTARGS,
        files={},
        seed=SEED,
        initrd_size=INITRD_SIZE,
    )
    blob = seal_blob(
        recipients=[machine_public_key],
        promise=promise_of(kernel=KERNEL, initrd=built.initrd, bootargs=BOOTARGS, rtas=built.rtas),
        files={},
        payload_key=secrets.token_bytes(PAYLOAD_KEY_SIZE),
        nonce=secrets.token_bytes(NONCE_SIZE),
    )
    return lay_out(
        memory_size=memory,
        bootargs=BOOTARGS,
        kernel=KERNEL,
        rtas=built.rtas,
        initrd=built.initrd,
        esm_blob=blob,
    )


@dataclass
class Stage:
    """A VM that plays the small system; every action is a coroutine that ends with a word of the file."""

    system: System
    lpid: Lpid
    vmm: Vmm
    watch: Watch
    guests: list[Guest]
    ultravisor: Endpoint
    image: GuestImage = field(repr=False)
    places: Mapping[int, int]
    entering: int = 0
    """UV_ESMs under way."""
    is_secure: bool = False
    """Whether the guest runs under the Ultravisor: from the end of UV_ESM to that of a reset."""
    kept: bytes = field(default=b"", repr=False)
    """The encrypted page that the host has kept."""
    words: Words = field(default_factory=Words)

    def token_gpa(self, gfn: int) -> int:
        """Return where the token of a GFN of the small system stands."""
        return gpa_of(self.places[gfn]) + TOKEN_AT

    async def load_image(self, *, bad: bool = False) -> None:
        """Write the image as the host does before a boot; a bad one has an initrd that nobody promised.

        The kernel is there already: a page that nobody wrote is zero, and one that isn't zero was written.
        """
        for gpa, content in self.image.layout:
            if gpa == self.image.kernel_base:
                if await self.vmm.read(self.lpid, gpa, len(content)) != content:
                    await self.vmm.write(self.lpid, gpa, content)
                continue
            flaw = bytes([content[-1] ^ 1]) if bad and gpa == self.image.initrd_address else content[-1:]
            await self.vmm.write(self.lpid, gpa, content[:-1] + flaw)

    async def before(self, action: str) -> None:
        """Do what has been done before an action begins and is no part of it: a boot loads the image."""
        if action not in ENTERS or self.entering:
            return
        if await self.state(Side.HYPERVISOR) == HvVmState.NORMAL.name:
            await self.load_image(bad=action == BAD_IMAGE)

    def asked_side(self, action: str) -> Side:
        """Return the side that the messages go to which an action itself makes."""
        from_ultravisor = action in ULTRACALLS or (action in ACCESSES and self.is_secure)
        return Side.HYPERVISOR if from_ultravisor else Side.ULTRAVISOR

    async def act(self, action: str, gfn: int, vcpu: int, call_id: str) -> str:
        """Perform an action and return how it ended."""
        try:
            if action in OF_CIPHERTEXT:
                return await self._act_on_ciphertext(action, gfn)
            word = await self._act(action, gfn, vcpu, call_id)
        except Refusal as refusal:
            return refusal.code
        if action in CHANGES:
            self.words.doubt(self.places if action not in {"share", "unshare"} else [gfn])
        if action in ENTERS and word == "U_SUCCESS":
            self.is_secure = True
        elif action in RESETS:
            self.is_secure = False
        return word

    async def _act(self, action: str, gfn: int, vcpu: int, call_id: str) -> str:
        match action:
            case "load":
                return await self._load(gfn, vcpu)
            case "store":
                return await self._store(gfn, vcpu)
            case "share":
                return await self._call("UV_SHARE_PAGE", SharePage(Gfn(self.places[gfn]), 1), call_id)
            case "unshare":
                return await self._call("UV_UNSHARE_PAGE", UnsharePage(Gfn(self.places[gfn]), 1), call_id)
            case "unshare all":
                return await self._call("UV_UNSHARE_ALL_PAGES", UnshareAllPages(), call_id)
            case "UV_ESM" | "UV_ESM with a bad image":
                return await self._enter(call_id)
            case "host read" | "page out":
                return await self._host_read(gfn)
            case "host write":
                await self._host_write(gfn)
            case "unmap":
                await self.vmm.unmap(self.lpid, gpa_of(self.places[gfn]), 1)
            case "hot-add":
                await self.vmm.plug(self.lpid, PLUGGED, self.image.memory_size, self.system.plug * PAGE_SIZE)
            case "hot-remove":
                await self.vmm.unplug(self.lpid, PLUGGED)
            case _:
                await self.vmm.reset(self.lpid)
        return "OK"

    async def _enter(self, call_id: str) -> str:
        self.entering += 1
        try:
            asked = Esm(Gpa(self.image.kernel_base), Gpa(self.image.fdt_address))
            return await self._call("UV_ESM", asked, call_id)
        finally:
            self.entering -= 1

    async def _call(self, name: str, request: object, call_id: str) -> str:
        form: dict[str, Any] = encode_call(CALLS[name], request)
        form["headers"] |= {CALL_ID: call_id}
        response = await self.ultravisor.ask("POST", form.pop("url"), **form)
        media = response.headers.get("content-type", "")
        return decode_reply(CALLS[name], response.content, media).code.name

    def _guest(self, vcpu: int) -> Guest:
        guest = self.guests[vcpu]
        guest.world = World.SECURE if self.is_secure else World.NORMAL
        return guest

    async def _load(self, gfn: int, vcpu: int) -> str:
        return self.words.of(gfn, await self._guest(vcpu).load(self.token_gpa(gfn), TOKEN_BYTES))

    async def _store(self, gfn: int, vcpu: int) -> str:
        token = self.words.new_token(gfn)
        await self._guest(vcpu).store(self.token_gpa(gfn), token)
        self.words.wrote(gfn, token)
        return "resolved"

    async def _host_read(self, gfn: int) -> str:
        return self.words.of(gfn, await self.vmm.read(self.lpid, self.token_gpa(gfn), TOKEN_BYTES))

    async def _act_on_ciphertext(self, action: str, gfn: int) -> str:
        """Keep a whole page as the host reads it, or write the one that was kept."""
        gpa = gpa_of(self.places[gfn])
        if action == "write kept ciphertext":
            await self.vmm.write(self.lpid, gpa, self.kept)
            return "OK"
        self.kept = await self.vmm.read(self.lpid, gpa, PAGE_SIZE)
        return self.words.of(gfn, self.kept[TOKEN_AT : TOKEN_AT + TOKEN_BYTES])

    async def _host_write(self, gfn: int) -> None:
        """Write as the host; it counts where the guest reads the same page, or will as it becomes secure.

        While UV_ESM is under way it may also count, or not, where nobody can tell from outside.
        """
        token = self.words.new_token(gfn)
        await self.vmm.write(self.lpid, self.token_gpa(gfn), token)
        svm, (known, state) = await self.state(Side.ULTRAVISOR), (await self.tables())[gfn]
        not_asked_for = (svm, known, state) == (
            UvVmState.ACTIVE.name,
            HvGfnState.NORMAL.name,
            UvGfnState.SECURE.name,
        )
        if svm not in SVM_STATES or state not in {*PRIVATE, NOTHING} or not_asked_for:
            self.words.wrote(gfn, token)
        elif svm == UvVmState.SECURE.name or state == UvGfnState.PAGEDOUT.name:
            self.words.gave_up(gfn, token)

    async def state(self, side: Side) -> str:
        """Return the state of the VM as one side lists it; `nothing` where it lists none."""
        record = (await self.watch.vms(side))[0].get(self.lpid)
        return record.state if record else NOTHING

    async def tables(self) -> dict[int, tuple[str, str]]:
        """Return the states of each GFN of the small system, as both sides show them."""
        columns = []
        for side in (Side.HYPERVISOR, Side.ULTRAVISOR):
            slots = await self.watch.slots(side, self.lpid)
            columns.append([run for slot in slots for run in slot.states])
        return {gfn: (_at(place, columns[0]), _at(place, columns[1])) for gfn, place in self.places.items()}

    async def observations(self) -> dict[int, tuple[str, str]]:
        """Have the guest load every GFN, then the host read every one; return how that ended."""
        guest = [await self.act("load", gfn, 0, "") for gfn in self.places]
        host = [await self.act("host read", gfn, 0, "") for gfn in self.places]
        return {gfn: (guest[gfn], host[gfn]) for gfn in self.places}


def _at(gfn: int, runs: list[tuple[int, int, str]]) -> str:
    return next((state for first, count, state in runs if first <= gfn < first + count), NOTHING)


@asynccontextmanager
async def set_up(
    system: System, design: DesignName, endpoints: Endpoints, memory: int = MEMORY
) -> AsyncIterator[Stage]:
    """Create a VM with an image in its `memory` (bytes), and destroy what is left of it at the end."""
    async with AsyncExitStack() as stack:
        watch = await stack.enter_async_context(Watch(endpoints))
        vmm = await stack.enter_async_context(Vmm(endpoints))
        image = image_for(await watch.machine_public_key(), memory)
        lpid = await vmm.create(design)
        stack.push_async_callback(_destroy, vmm, lpid)
        await vmm.plug(lpid, 0, gpa_of(0), memory)
        guests = [await stack.enter_async_context(Guest(endpoints, lpid)) for _ in range(system.vcpus)]
        stage = Stage(system, lpid, vmm, watch, guests, guests[0].ultravisor, image, mapping(system, image))
        await stage.load_image()
        yield stage


async def _destroy(vmm: Vmm, lpid: Lpid) -> None:
    """Destroy what is left of the VM; a service that is gone has nothing left."""
    try:
        await vmm.destroy(lpid)
    except (Refusal, Unanswered):
        return
