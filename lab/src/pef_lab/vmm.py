"""The VMM: what QEMU does to a VM, by the Hypervisor's VMM door, and the host's eye on guest memory."""

from types import TracebackType
from typing import Any, Final, Self

import httpx

from pef_lab.door import Door, is_octets
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal
from pef_protocol.designs import Design
from pef_protocol.quantities import Lpid
from pef_protocol.wire import VMM_PATH

VMS: Final = VMM_PATH + "vms"
LARGEST_ACCESS: Final = 16 << 20


class Vmm:
    """The VMM of a host. Every method raises Refusal where the Hypervisor answers an errno."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._door = Door("Hypervisor", endpoints.hypervisor_url, endpoints.vmm_token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._door.close()

    async def create(self, design: Design) -> Lpid:
        """Create a VM that may become secure, treated after `design`; return its lpid."""
        form = {"design": design.value, "secure_guest": True, "radix": True}
        return Lpid(int(_must("create", await self._door.post(VMS, form))["lpid"]))

    async def plug(self, lpid: Lpid, slotid: int, gpa: int, size: int) -> None:
        """Give the VM a memory slot of `size` bytes at `gpa`."""
        form = {"slotid": slotid, "gpa": gpa, "size": size}
        _must("plug", await self._door.post(f"{VMS}/{lpid}/slots", form))

    async def unplug(self, lpid: Lpid, slotid: int) -> None:
        """Take a memory slot away."""
        _must("unplug", await self._door.ask("DELETE", f"{VMS}/{lpid}/slots/{slotid}"))

    async def read(self, lpid: Lpid, gpa: int, length: int) -> bytes:
        """Return guest memory as the host sees it; `length` at most 16 MiB."""
        response = await self._door.send(f"{VMS}/{lpid}/read", b"", gpa=gpa, length=length)
        if not is_octets(response):
            _must(f"host read at {gpa:#x}", response)
            raise Refusal(f"host read at {gpa:#x}", "no bytes")
        return response.content

    async def write(self, lpid: Lpid, gpa: int, octets: bytes) -> None:
        """Write guest memory as the host does, in pieces of at most 16 MiB."""
        for start in range(0, len(octets), LARGEST_ACCESS):
            piece = octets[start : start + LARGEST_ACCESS]
            answer = await self._door.send(f"{VMS}/{lpid}/write", piece, gpa=gpa + start)
            _must(f"host write at {gpa + start:#x}", answer)

    async def unmap(self, lpid: Lpid, gpa: int, count: int) -> None:
        """Unmap `count` pages from `gpa`, as swapping or ballooning does."""
        _must("unmap", await self._door.post(f"{VMS}/{lpid}/unmap", {"gpa": gpa, "count": count}))

    async def reset(self, lpid: Lpid) -> None:
        """Reboot the VM: it is a normal one afterwards."""
        _must("reset", await self._door.post(f"{VMS}/{lpid}/reset", {}))

    async def destroy(self, lpid: Lpid) -> None:
        """Destroy the VM."""
        _must("destroy", await self._door.ask("DELETE", f"{VMS}/{lpid}"))


def _must(what: str, response: httpx.Response) -> dict[str, Any]:
    answer: dict[str, Any] = response.json()
    if answer["errno"]:
        raise Refusal(what, str(answer["name"]), str(answer["detail"]))
    return answer
