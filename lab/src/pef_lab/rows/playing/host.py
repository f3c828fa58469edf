"""A host as rows need it, whoever is behind it: the Hypervisor that we play, or one that stands.

Rows about an Ultravisor also make ultracalls as the Hypervisor. Where a Hypervisor stands, they do so behind
its back, with real addresses that it gives to nobody: the last ones of normal memory.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import httpx

from pef_kit.runtime.bus import NORMAL_BASE
from pef_lab.failures import Unanswered
from pef_lab.rows.doors import ULTRAVISOR, VMM, Doors, json_of
from pef_lab.rows.playing.normal_memory import FORM, read_normal, write_normal
from pef_lab.rows.subject import NoScene
from pef_protocol.designs import Design
from pef_protocol.http import NORMAL_MEMORY_PATH, OCTETS, VMM_PATH
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, gpa_of

VMS: Final = VMM_PATH + "vms"
LARGEST_NORMAL: Final = 1 << 32
"""Pages of normal memory that are looked for: 256 TiB."""
FAR: Final = 1 << 12
"""Pages at the far end that a pass may use before it begins again."""


class SlotPlan(NamedTuple):
    """A memory slot of a VM: its id, its first GFN, how many GFNs it has."""

    slotid: int
    first: int
    pages: int


class Host(Protocol):
    """What a host does for VMs, and the normal memory that is its own."""

    async def new_vm(self, *slots: SlotPlan, secure_guest: bool = True) -> int:
        """Make a normal VM of slots, with its partition-table entry; return its lpid."""

    async def write(self, lpid: int, gpa: int, content: bytes) -> None:
        """Write into the memory of a normal VM."""

    async def read(self, lpid: int, gpa: int, length: int) -> bytes:
        """Return memory of a normal VM, or a shared page, as the host sees it."""

    async def page_out(self, lpid: int, gfn: int) -> int:
        """Take a secure page out as a host does that touches it; return where a copy of what came lies."""

    async def spare(self, count: int = 1) -> int:
        """Return the real address of `count` normal pages that belong to no VM."""

    async def peek(self, ra: int, length: int = PAGE_SIZE) -> bytes:
        """Read normal memory."""

    async def poke(self, ra: int, content: bytes) -> None:
        """Write normal memory."""

    async def destroy(self, lpid: int) -> None:
        """End a VM, in whatever state it is."""


class StandingHost:
    """A Hypervisor that stands, by its VMM's door and, as the Ultravisor, by its memory bus."""

    def __init__(self, hypervisor: Doors) -> None:
        self._doors = hypervisor
        self._pages = 0
        self._given = 0

    async def new_vm(self, *slots: SlotPlan, secure_guest: bool = True) -> int:
        """Make a normal VM of slots by the VMM's door."""
        form = {"design": Design.TRACKED.value, "secure_guest": secure_guest, "radix": True}
        lpid = int((await self._do("POST", VMS, form))["lpid"])
        for slot in slots:
            form = {"slotid": slot.slotid, "gpa": gpa_of(slot.first), "size": slot.pages << PAGE_ORDER}
            await self._do("POST", f"{VMS}/{lpid}/slots", form)
        return lpid

    async def _do(self, method: str, path: str, form: Mapping[str, Any] | None = None) -> Any:
        """Do something by the VMM's door; raise NoScene where the Hypervisor won't."""
        what = f"{method} {path} at the {self._doors.name}"
        answer = json_of(what, await self._doors.ask(VMM, method, path, json=form))
        if answer.get("errno", -1):
            raise NoScene(f"{what}: {answer.get('name') or answer.get('detail')}")
        return answer

    async def write(self, lpid: int, gpa: int, content: bytes) -> None:
        """Write guest memory by the VMM's door."""
        path = f"{VMS}/{lpid}/write"
        response = await self._doors.ask(
            VMM, "POST", path, content=content, headers=FORM, params={"gpa": gpa}
        )
        if json_of(path, response).get("errno", -1):
            raise NoScene(f"{path} at the {self._doors.name} is refused")

    async def read(self, lpid: int, gpa: int, length: int) -> bytes:
        """Read guest memory by the VMM's door."""
        path = f"{VMS}/{lpid}/read"
        response = await self._doors.ask(VMM, "POST", path, params={"gpa": gpa, "length": length})
        if not response.headers.get("content-type", "").startswith(OCTETS):
            raise NoScene(f"{path} at the {self._doors.name} gives no bytes")
        return response.content

    async def page_out(self, lpid: int, gfn: int) -> int:
        """Have the host touch a page; return where a copy of what it found lies."""
        sealed = await self.read(lpid, gpa_of(gfn), PAGE_SIZE)
        ra = await self.spare()
        await self.poke(ra, sealed)
        return ra

    async def spare(self, count: int = 1) -> int:
        """Return normal pages from the far end of all."""
        self._pages = self._pages or await self._end()
        if self._given + count > min(FAR, self._pages // 2):
            self._given = 0
        self._given += count
        return NORMAL_BASE + (self._pages - self._given << PAGE_ORDER)

    async def _end(self) -> int:
        """Return how many pages normal memory has, found by asking for one after another."""
        there, beyond = 0, LARGEST_NORMAL
        while beyond - there > 1:
            page = there + beyond >> 1
            there, beyond = (page, beyond) if await self._is_there(page) else (there, page)
        if not there:
            raise NoScene("normal memory can't be reached at the Hypervisor")
        return there + 1

    async def _is_there(self, page: int) -> bool:
        row = (NORMAL_BASE + (page << PAGE_ORDER)).to_bytes(8, "little") + (1).to_bytes(8, "little")
        path = NORMAL_MEMORY_PATH + "read"
        answer = await self._doors.ask(ULTRAVISOR, "POST", path, content=row, headers=FORM)
        return answer.status_code == httpx.codes.OK

    async def peek(self, ra: int, length: int = PAGE_SIZE) -> bytes:
        """Read normal memory as the Ultravisor does."""
        return await read_normal(self._doors, (ra, length))

    async def poke(self, ra: int, content: bytes) -> None:
        """Write normal memory as the Ultravisor does."""
        await write_normal(self._doors, [(ra, len(content))], content)

    async def destroy(self, lpid: int) -> None:
        """Destroy a VM by the VMM's door; what the Hypervisor won't end is left to it."""
        try:
            await self._do("DELETE", f"{VMS}/{lpid}")
        except (NoScene, Unanswered):
            return
