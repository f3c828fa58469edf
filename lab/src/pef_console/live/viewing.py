"""A page as guest and host see it, each by that role's own request, and what the requests changed."""

from contextlib import AsyncExitStack, nullcontext
from typing import Any

from pef_console.live.columns import Columns
from pef_console.live.page_view import CIPHERTEXT, changes, guest_view, host_view, word_for
from pef_console.live.pairs import SessionPair
from pef_console.live.picture import Picture
from pef_console.live.vm import LiveVm
from pef_console.stage import NotPossible
from pef_lab.failures import OperatorFault
from pef_lab.guest import Guest, World
from pef_lab.replay.words import OTHER
from pef_lab.vmm import Vmm
from pef_protocol.http import Role
from pef_protocol.quantities import Lpid
from pef_protocol.states import HvGfnState


class Viewer:
    """Makes the requests of a page view, with the tokens that there are."""

    def __init__(self, pair: SessionPair, picture: Picture) -> None:
        self._pair = pair
        self._picture = picture
        self._views = 0

    async def view(self, gfn: int, vm: LiveVm | None) -> dict[str, Any]:
        """Return how both see a GFN; raise NotPossible where a side gives no answer, or no slot has it."""
        try:
            async with AsyncExitStack() as stack:
                before = await self._picture.columns(vm)
                if before.position(gfn) is None:
                    raise NotPossible(f"GFN {gfn} lies in no memory slot")
                guest, vmm = await self._viewers(stack, vm)
                return await self._seen(gfn, vm, guest, vmm, before)
        except OperatorFault as fault:
            raise NotPossible(str(fault)) from None

    async def _viewers(self, stack: AsyncExitStack, vm: LiveVm | None) -> tuple[Guest | None, Vmm | None]:
        """Return whose requests fill the two views, as far as their tokens were given."""
        keyring, endpoints = self._pair.keyring, self._pair.endpoints
        if vm is not None:
            guest = None if keyring.why_not(Role.GUEST) else vm.small.guests[0]
            if guest is not None:
                guest.world = World.SECURE if vm.small.is_secure else World.NORMAL
            return guest, vm.small.vmm
        vmm = None if keyring.why_not(Role.VMM) else await stack.enter_async_context(Vmm(endpoints))
        if keyring.why_not(Role.GUEST):
            return None, vmm
        observer = self._picture.observer
        guest = await stack.enter_async_context(Guest(endpoints, Lpid(observer.lpid)))
        guest.world = await observer.world()
        return guest, vmm

    async def _seen(
        self, gfn: int, vm: LiveVm | None, guest: Guest | None, vmm: Vmm | None, before: Columns
    ) -> dict[str, Any]:
        self._views += 1
        lpid, keyring = self._picture.observer.lpid, self._pair.keyring
        call_id = f"view-{lpid}-{self._views}"
        small = vm.small_gfn(gfn) if vm else None

        def word_of(seen: bytes) -> str:
            return word_for(seen) if vm is None or small is None else vm.small.words.of(small, seen)

        with vm.unheld(call_id) if vm else nullcontext():
            found = await guest_view(keyring, guest, gfn, call_id, word_of)
            host = await host_view(keyring, vmm, lpid, gfn, call_id, word_of)
        after = await self._picture.columns(vm)
        if host["words"] == OTHER and after.at(gfn)[0] == HvGfnState.PAGED_OUT:
            host["words"] = CIPHERTEXT
        if vm is not None and small is not None:
            vm.judge.host_found(small, host["words"])
        return {"gfn": gfn, "guest": found, "host": host, "changed": changes(before, after)}
