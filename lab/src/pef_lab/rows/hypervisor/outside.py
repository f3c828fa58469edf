"""Whoever stands outside a Hypervisor: its VMM, its guests, and the Ultravisor as which we speak."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from pef_lab.failures import Unanswered
from pef_lab.rows.doors import ULTRAVISOR, VMM, Answer, Doors, Who, json_of, kernel_of
from pef_lab.rows.playing.ultravisor import Heard, PlayedUltravisor
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import NoScene
from pef_protocol.designs import Design
from pef_protocol.http import GUEST_PATH, OCTETS, VMM_PATH
from pef_protocol.hypercalls import SvmPageIn, SvmPageOut
from pef_protocol.quantities import H_PAGE_IN_SHARED, PAGE_ORDER, PAGE_SIZE, Lpid, gpa_of
from pef_protocol.runs import PageRuns

VMS: Final = VMM_PATH + "vms"
OK: Final = "OK"
OCTETS_SENT: Final = {"content-type": OCTETS}


def runs_of(*gfns: int) -> PageRuns:
    """Return a run of one page for each of `gfns`."""
    return PageRuns.of(*((gpa_of(gfn), 1) for gfn in gfns))


@dataclass(frozen=True)
class Outside:
    """All that can be done to the Hypervisor of a stage. Operations of the VMM return an errno's name."""

    stage: Stage

    @property
    def doors(self) -> Doors:
        """Return the Hypervisor's doors."""
        return self.stage.hypervisor

    @property
    def played(self) -> PlayedUltravisor:
        """Return the Ultravisor that we play; raise NoScene where there is a real one."""
        if not isinstance(self.stage.played, PlayedUltravisor):
            raise NoScene("the Ultravisor is not played by us")
        return self.stage.played

    @property
    def number(self) -> int:
        """Return how many ultracalls were heard so far; none where the Ultravisor is not ours."""
        return self.played.number if isinstance(self.stage.played, PlayedUltravisor) else 0

    def heard_since(self, number: int, lpid: int) -> tuple[Heard, ...]:
        """Return the ultracalls about a VM after the first `number`; none where the Ultravisor is real."""
        return self.played.since(number, lpid) if isinstance(self.stage.played, PlayedUltravisor) else ()

    # as the Ultravisor

    async def hypercall(self, request: object, who: Who = ULTRAVISOR) -> Answer:
        """Make a hypercall; what the Ultravisor asks for by it, a played one takes."""
        if who == ULTRAVISOR and isinstance(self.stage.played, PlayedUltravisor):
            with self.played.outstanding(request):
                return await self.doors.call(who, request)
        return await self.doors.call(who, request)

    async def page_in(self, lpid: int, *gfns: int) -> Answer:
        """Make H_SVM_PAGE_IN with flags 0."""
        return await self.hypercall(SvmPageIn(Lpid(lpid), runs_of(*gfns), 0, PAGE_ORDER))

    async def share(self, lpid: int, *gfns: int) -> Answer:
        """Make H_SVM_PAGE_IN with H_PAGE_IN_SHARED."""
        return await self.hypercall(SvmPageIn(Lpid(lpid), runs_of(*gfns), H_PAGE_IN_SHARED, PAGE_ORDER))

    async def page_out(self, lpid: int, *gfns: int) -> Answer:
        """Make H_SVM_PAGE_OUT."""
        return await self.hypercall(SvmPageOut(Lpid(lpid), runs_of(*gfns), 0, PAGE_ORDER))

    # as the VMM

    async def create(
        self, design: Design = Design.TRACKED, *, secure_guest: bool = True, radix: bool = True
    ) -> int:
        """Create a VM and return its lpid; raise NoScene where there is none."""
        form = {"design": design.value, "secure_guest": secure_guest, "radix": radix}
        told = await self._operation("POST", VMS, json=form)
        if told["name"] != OK:
            raise NoScene(f"a VM can't be created: {told['name']} {told['detail']}")
        return int(told["lpid"])

    async def plug(self, lpid: int, slotid: int, first: int, pages: int) -> str:
        """Add a slot of `pages` pages from GFN `first`."""
        form = {"slotid": slotid, "gpa": gpa_of(first), "size": pages * PAGE_SIZE}
        return str((await self._operation("POST", f"{VMS}/{lpid}/slots", json=form))["name"])

    async def unplug(self, lpid: int, slotid: int) -> str:
        """Remove a slot."""
        return str((await self._operation("DELETE", f"{VMS}/{lpid}/slots/{slotid}"))["name"])

    async def write(self, lpid: int, gfn: int, content: bytes) -> str:
        """Write guest memory from GFN `gfn` on, as the host does."""
        form = {"params": {"gpa": gpa_of(gfn)}, "content": content, "headers": OCTETS_SENT}
        return str((await self._operation("POST", f"{VMS}/{lpid}/write", **form))["name"])

    async def read(self, lpid: int, gfn: int, pages: int = 1) -> bytes | str:
        """Return guest memory as the host sees it, or an errno's name."""
        path = f"{VMS}/{lpid}/read"
        query = {"gpa": gpa_of(gfn), "length": pages * PAGE_SIZE}
        answer = await self.doors.ask(VMM, "POST", path, params=query, headers=OCTETS_SENT)
        if answer.headers.get("content-type", "").startswith(OCTETS):
            return bytes(answer.content)
        return str(_told(f"{path} at the {self.doors.name}", answer)["name"])

    async def unmap(self, lpid: int, gfn: int, pages: int = 1) -> str:
        """Take normal pages away from the guest."""
        form = {"gpa": gpa_of(gfn), "count": pages}
        return str((await self._operation("POST", f"{VMS}/{lpid}/unmap", json=form))["name"])

    async def reset(self, lpid: int) -> str:
        """Reset a VM."""
        return str((await self._operation("POST", f"{VMS}/{lpid}/reset", json={}))["name"])

    async def destroy(self, lpid: int) -> str:
        """Destroy a VM."""
        return str((await self._operation("DELETE", f"{VMS}/{lpid}"))["name"])

    async def _operation(self, method: str, path: str, **form: Any) -> Mapping[str, Any]:
        return _told(f"{path} at the {self.doors.name}", await self.doors.ask(VMM, method, path, **form))

    # as a guest that is not secure

    async def load(self, lpid: int, gfn: int) -> bytes | None:
        """Return a page as the VM loads it from the Hypervisor, or None where the access is refused."""
        query = {"gpa": gpa_of(gfn), "length": PAGE_SIZE}
        path = GUEST_PATH + "load"
        answer = await self.doors.ask(
            kernel_of(lpid), "POST", path, params=query, headers=OCTETS_SENT, content=b""
        )
        if answer.headers.get("content-type", "").startswith(OCTETS):
            return bytes(answer.content)
        if answer.status_code != httpx.codes.OK:
            raise Unanswered(f"{path} at the {self.doors.name}", f"HTTP status {answer.status_code}")
        return None


def _told(what: str, answer: httpx.Response) -> Mapping[str, Any]:
    told = json_of(what, answer)
    if not isinstance(told, dict) or "name" not in told:
        raise Unanswered(what, f"HTTP status {answer.status_code}, no errno")
    return told


def must(what: str, outcome: str, *wanted: str) -> None:
    """Raise NoScene where an outcome that a scene needs is another one."""
    if outcome not in (wanted or (OK,)):
        raise NoScene(f"{what}: {outcome}")
