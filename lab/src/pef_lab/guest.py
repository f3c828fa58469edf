"""The guest: a VM's kernel. It knows both doors and speaks nothing but HTTP.

A normal VM's loads and stores go to the Hypervisor, a secure VM's to the Ultravisor. On the machine the
processor decides which; here the guest does, and a door that is not its own refuses it.

Its tokens are minted as it begins. After a reboot, or a UV_ESM that failed, the Ultravisor no longer knows
the old one: a new one is minted, as long as the VM is the same.
"""

from collections.abc import AsyncIterator
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from pef_lab.endpoint import Endpoint, is_octets, understood
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal
from pef_lab.minting import guest_token, incarnation_at
from pef_protocol.auth import mint_guest_token
from pef_protocol.calls import Reply
from pef_protocol.events import Side
from pef_protocol.http import GUEST_PATH
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import Gfn, Gpa, Lpid
from pef_protocol.ultracalls import Esm, SharePage, UnshareAllPages, UnsharePage

LARGEST_ACCESS: Final = 16 << 20
"""Bytes of one load or store."""


class World(StrEnum):
    """Which visor serves a guest's loads and stores."""

    NORMAL = "normal"
    SECURE = "secure"


class Guest:
    """VM `lpid`, seen from inside. `world` is where its loads and stores go by default."""

    def __init__(self, endpoints: Endpoints, lpid: Lpid) -> None:
        self.lpid = lpid
        self.world = World.NORMAL
        self._endpoints = endpoints
        self._tenancy: Incarnation | None = None
        self.ultravisor = Endpoint("Ultravisor", endpoints.ultravisor_url, "", renew=self._renewed)
        self._hypervisor = Endpoint("Hypervisor", endpoints.hypervisor_url, "")

    async def __aenter__(self) -> Self:
        self._tenancy = await self._at_hypervisor()
        key = self._endpoints.hypervisor_guest_key
        self._hypervisor.speak_as(mint_guest_token(key, self.lpid, self._tenancy))
        self.ultravisor.speak_as(await guest_token(self._endpoints, Side.ULTRAVISOR, self.lpid))
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.ultravisor.close()
        await self._hypervisor.close()

    async def _at_hypervisor(self) -> Incarnation | None:
        at = self._endpoints
        return await incarnation_at(at.hypervisor_url, at.observer_token, self.lpid)

    async def _renewed(self) -> str:
        """Return a new token for the Ultravisor, or nothing where the lpid is another VM's by now."""
        if await self._at_hypervisor() != self._tenancy:
            return ""
        return await guest_token(self._endpoints, Side.ULTRAVISOR, self.lpid)

    def _memory(self) -> Endpoint:
        return self.ultravisor if self.world is World.SECURE else self._hypervisor

    async def load(self, gpa: int, length: int) -> bytes:
        """Return `length` bytes at `gpa`, at most 16 MiB; raise Refusal where the access doesn't resolve."""
        response = await self._memory().send(GUEST_PATH + "load", b"", gpa=gpa, length=length)
        if not is_octets(response):
            with understood(what := f"guest load at {gpa:#x}"):
                reason = str(response.json().get("reason", ""))
            raise Refusal(what, "refused", reason)
        return response.content

    async def store(self, gpa: int, octets: bytes) -> None:
        """Write `octets`, at most 16 MiB, at `gpa`; raise Refusal where the access doesn't resolve."""
        response = await self._memory().send(GUEST_PATH + "store", octets, gpa=gpa)
        with understood(what := f"guest store at {gpa:#x}"):
            answer = response.json()
            resolved, reason = answer.get("access") == "resolved", str(answer.get("reason", ""))
        if not resolved:
            raise Refusal(what, "refused", reason)

    async def load_range(self, gpa: int, length: int) -> AsyncIterator[tuple[int, bytes]]:
        """Yield (gpa, bytes) of a range of any length, 16 MiB at a time."""
        for start in range(gpa, gpa + length, LARGEST_ACCESS):
            yield start, await self.load(start, min(LARGEST_ACCESS, gpa + length - start))

    async def enter_secure_mode(self, kernel_base: int, fdt: int) -> Reply:
        """Make UV_ESM; on success the guest's loads and stores go to the Ultravisor from now on."""
        reply = await self.ultravisor.call("UV_ESM", Esm(Gpa(kernel_base), Gpa(fdt)), once=True)
        if reply.code.succeeded:
            self.world = World.SECURE
        return reply

    async def share(self, gfn: int, num: int = 1) -> None:
        """Make UV_SHARE_PAGE; raise Refusal on any code but success."""
        await self._must_call("UV_SHARE_PAGE", SharePage(Gfn(gfn), num))

    async def unshare(self, gfn: int, num: int = 1) -> None:
        """Make UV_UNSHARE_PAGE; raise Refusal on any code but success."""
        await self._must_call("UV_UNSHARE_PAGE", UnsharePage(Gfn(gfn), num))

    async def unshare_all(self) -> None:
        """Make UV_UNSHARE_ALL_PAGES; raise Refusal on any code but success."""
        await self._must_call("UV_UNSHARE_ALL_PAGES", UnshareAllPages())

    def rebooted(self) -> None:
        """Go on as a normal VM: its loads and stores go to the Hypervisor again."""
        self.world = World.NORMAL

    async def _must_call(self, name: str, request: object) -> None:
        reply = await self.ultravisor.call(name, request, once=True)
        if not reply.code.succeeded:
            raise Refusal(name, reply.code.name, reply.detail)
