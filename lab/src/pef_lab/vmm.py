"""The VMM: what QEMU does to a VM, by the Hypervisor's VMM door, and the host's eye on guest memory."""

from types import TracebackType
from typing import Any, Final, Self

import httpx

from pef_lab.endpoint import Endpoint, is_octets, understood
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal
from pef_lab.minting import incarnation_at
from pef_protocol.designs import DesignName
from pef_protocol.http import IF_MATCH, VMM_PATH
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import Lpid

VMS: Final = VMM_PATH + "vms"
LARGEST_ACCESS: Final = 16 << 20


class Vmm:
    """The VMM of a host. Every method raises Refusal where the Hypervisor answers an errno."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._endpoint = Endpoint("Hypervisor", endpoints.hypervisor_url, endpoints.vmm_token)
        self._vms: dict[int, Incarnation] = {}
        """Which VM each lpid means to this VMM."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._endpoint.close()

    async def create(self, design: DesignName) -> Lpid:
        """Create a VM that may become secure, treated after `design`; return its lpid."""
        form = {"design": design, "secure_guest": True, "radix": True}
        made = _must("create", await self._endpoint.post(VMS, form, once=True))
        with understood("create at the Hypervisor"):
            lpid = Lpid(int(made["lpid"]))
        if named := Incarnation.parse(str(made.get("incarnation"))):
            self._vms[lpid] = named
        return lpid

    async def list(self) -> list[dict[str, Any]]:
        """Return the VMs that there are: lpid, incarnation, design, state, slots."""
        shown = await self._endpoint.view(VMS)
        with understood(f"GET {VMS} at the Hypervisor"):
            vms: list[dict[str, Any]] = shown["vms"]
        return vms

    async def _match(self, lpid: Lpid) -> dict[str, str]:
        """Return the header that names the VM that is meant; of one met by its lpid, the one of now."""
        if lpid not in self._vms:
            url, token = self._endpoints.hypervisor_url, self._endpoints.vmm_token
            named = await incarnation_at(url, token, lpid)
            if named is None:
                return {}
            self._vms[lpid] = named
        return {IF_MATCH: f'"{self._vms[lpid]}"'}

    async def plug(self, lpid: Lpid, slotid: int, gpa: int, size: int) -> None:
        """Give the VM a memory slot of `size` bytes at `gpa`."""
        form = {"slotid": slotid, "gpa": gpa, "size": size}
        path, match = f"{VMS}/{lpid}/slots", await self._match(lpid)
        _must("plug", await self._endpoint.post(path, form, headers=match, once=True))

    async def unplug(self, lpid: Lpid, slotid: int) -> None:
        """Take a memory slot away."""
        path, match = f"{VMS}/{lpid}/slots/{slotid}", await self._match(lpid)
        _must("unplug", await self._endpoint.ask("DELETE", path, headers=match, once=True))

    async def read(self, lpid: Lpid, gpa: int, length: int) -> bytes:
        """Return guest memory as the host sees it; `length` at most 16 MiB."""
        match = await self._match(lpid)
        response = await self._endpoint.send(f"{VMS}/{lpid}/read", b"", match, gpa=gpa, length=length)
        if not is_octets(response):
            _must(f"host read at {gpa:#x}", response)
            raise Refusal(f"host read at {gpa:#x}", "no bytes")
        return response.content

    async def write(self, lpid: Lpid, gpa: int, octets: bytes) -> None:
        """Write guest memory as the host does, in pieces of at most 16 MiB."""
        match = await self._match(lpid)
        for start in range(0, len(octets), LARGEST_ACCESS):
            piece = octets[start : start + LARGEST_ACCESS]
            answer = await self._endpoint.send(f"{VMS}/{lpid}/write", piece, match, gpa=gpa + start)
            _must(f"host write at {gpa + start:#x}", answer)

    async def unmap(self, lpid: Lpid, gpa: int, count: int) -> None:
        """Unmap `count` pages from `gpa`, as swapping or ballooning does."""
        form, match = {"gpa": gpa, "count": count}, await self._match(lpid)
        _must("unmap", await self._endpoint.post(f"{VMS}/{lpid}/unmap", form, headers=match, once=True))

    async def reset(self, lpid: Lpid) -> None:
        """Reboot the VM: it is a normal one afterwards."""
        path, match = f"{VMS}/{lpid}/reset", await self._match(lpid)
        _must("reset", await self._endpoint.post(path, {}, headers=match, once=True))

    async def destroy(self, lpid: Lpid) -> None:
        """Destroy the VM."""
        match = await self._match(lpid)
        _must("destroy", await self._endpoint.ask("DELETE", f"{VMS}/{lpid}", headers=match, once=True))
        self._vms.pop(lpid, None)


def _must(what: str, response: httpx.Response) -> dict[str, Any]:
    with understood(f"{what} at the Hypervisor"):
        answer: dict[str, Any] = response.json()
        done, name, detail = not answer["errno"], str(answer["name"]), str(answer["detail"])
    if not done:
        raise Refusal(what, name, detail)
    return answer
