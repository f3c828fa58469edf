"""What is judged once a service was killed and started anew: as `crash.verdict`, by the roles' endpoints."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from crash.http_tenants import BYTES, MARKED, OUT, PRIVATE, SHARED, HttpHost, HttpTenant, until_free
from crash.kinds import Kind, Violation
from crash.memory import CANARY
from crash.pair import name_of
from crash.verdict import REACHING
from pef_lab.between.passing import Passing
from pef_lab.failures import Refusal, Unanswered
from pef_lab.guest import Guest, World
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, Lpid

REFUSED: Final = (Refusal, Unanswered)
TOGETHER: Final = 32
"""Messages that are delivered once more before the digests of both sides are read: those cost most."""


class HttpJudge:
    """Judges one case; `found` is what it broke. `public_key` is the machine's as it was before."""

    def __init__(self, host: HttpHost, tenants: list[HttpTenant], public_key: bytes) -> None:
        self.found: list[Violation] = []
        self._host = host
        self._pair = host.pair
        self._tenants = tenants
        self._normal = tenants[2]
        self._public_key = public_key
        self._new: list[HttpTenant] = []

    def broken(self, kind: Kind, detail: str) -> None:
        """Note a promise that is broken."""
        self.found.append(Violation(kind, detail))

    async def _listed(self) -> dict[int, str]:
        """Return the state of each VM that the Hypervisor lists."""
        seen: dict[str, Any] = await self._pair.view(Side.HYPERVISOR, "vms")
        return {vm["lpid"]: vm["state"] for vm in seen["vms"]}

    # After a restart of the Hypervisor

    async def new_hypervisor(self) -> None:
        """Judge that all VMs are gone, and that a new one is nobody else's and becomes secure."""
        if listed := await self._listed():
            self.broken(Kind.BYTES_LEFT, f"VMs {sorted(listed)} are listed by a new Hypervisor")
        self._look_for("ABCabc")
        new = None
        try:
            new = await self._host.new("D", REACHING)
        except REFUSED as reason:
            self.broken(Kind.NEW_NOT_SECURE, f"it can't be made: {reason}")
        if self._pair.svms_at_first_call != []:
            self.broken(Kind.SVM_OUTLIVES, f"SVMs of lpids {self._pair.svms_at_first_call} are there")
        if new is None:
            return
        await self._old_guests(new)
        try:
            await self._host.enter(new, await self._pair.public_key())
        except REFUSED as reason:
            self.broken(Kind.NEW_NOT_SECURE, str(reason))
            return
        await new.mark(*new.marked)
        await self._old_guests(new)
        self._new = [new]

    async def _old_guests(self, new: HttpTenant) -> None:
        """Have each guest of before try both endpoints: to load what it knew, to store where it shared."""
        for tenant in self._tenants:
            for world in World:
                tenant.guest.world = world
                for gfn in MARKED:
                    seen = None
                    with suppress(*REFUSED):
                        seen = await tenant.load(gfn)
                    if seen is None:
                        continue
                    found = CANARY.match(seen)
                    reads = found is not None and found[1] in b"Dd"
                    kind = Kind.GUEST_READS if reads else Kind.GUEST_SERVED
                    kind = Kind.OLD_TOKEN if tenant.lpid == new.lpid else kind
                    self.broken(kind, f"{tenant.name}, {world}, loads GFN {gfn}: {seen[:24]!r}")
                with suppress(*REFUSED):
                    await tenant.guest.store(SHARED * PAGE_SIZE, b"by " + tenant.name.encode())
        changed = await self._misread(new)
        for _, detail in changed:
            own = any(tenant.lpid == new.lpid and f"by {tenant.name}" in detail for tenant in self._tenants)
            self.broken(Kind.OLD_TOKEN if own else Kind.GUEST_WRITES, detail)
        if changed:
            await new.mark(*new.marked)

    # After a restart of the Ultravisor

    async def new_ultravisor(self) -> None:
        """Judge that the normal VM goes on, and that all VMs are normal and can become secure."""
        for kind, detail in await self._misread(self._normal):
            self.broken(kind, detail)
        try:
            new = await self._host.new("D")
        except REFUSED as reason:
            self.broken(Kind.NEW_NOT_SECURE, f"it can't be made: {reason}")
            return
        states = await self._listed()
        listed = [tenant for tenant in self._tenants if tenant.lpid in states]
        for tenant in listed:
            if states[tenant.lpid] == "SECURE":
                self.broken(Kind.STILL_SECURE, f"{tenant.name}, lpid {tenant.lpid}")
            if tenant is not self._normal:
                await self._reset(tenant)
        self._look_for("AB", frozenset({PRIVATE, OUT}))
        await self._enter(new, Kind.NEW_NOT_SECURE)
        for tenant in listed:
            old, tenant.guest = tenant.guest, await self._host.guest(tenant.lpid)
            normal = states[tenant.lpid] == "NORMAL"
            await self._enter(tenant, Kind.NORMAL_NOT_SECURE if normal else Kind.STUCK)
            if tenant.secure:
                await self._refuses(tenant, old)

    async def _reset(self, tenant: HttpTenant) -> None:
        try:
            await until_free(partial(self._pair.vmm.reset, tenant.guest.lpid))
        except REFUSED as reason:
            self.broken(Kind.STUCK, f"reset of {tenant.name}: {reason}")

    async def _enter(self, tenant: HttpTenant, kind: Kind) -> None:
        """Judge that a VM becomes secure, with an image of before."""
        try:
            try:
                await self._host.enter(tenant, self._public_key)
            except Refusal as reason:
                if reason.code != "U_NO_KEY":
                    raise
                self.broken(Kind.IMAGE_DEAD, str(reason))
                await self._host.enter(tenant, await self._pair.public_key())
            await tenant.mark(*tenant.marked)
            self._new.append(tenant)
        except REFUSED as reason:
            self.broken(kind, f"{tenant.name}: {reason}")

    async def _refuses(self, tenant: HttpTenant, old: Guest) -> None:
        """Judge that the Ultravisor refuses a token of before."""
        old.world = World.SECURE
        with suppress(*REFUSED):
            seen = await old.load(PRIVATE * PAGE_SIZE, BYTES)
            self.broken(Kind.OLD_TOKEN, f"{tenant.name} loads GFN {PRIVATE} of its new SVM: {seen[:24]!r}")

    # After either

    async def messages(self, messages: Sequence[Passing], kind: Kind) -> bool:
        """Deliver messages in the order of sending, and backwards; tell whether one changed anything."""
        order = [*messages, *reversed(messages)]
        before = await self._digests()
        for start in range(0, len(order), TOGETHER):
            sent = order[start : start + TOGETHER]
            for passing in sent:
                await self._pair.again(passing)
            if await self._digests() != before:
                self.broken(kind, f"one of {', '.join(map(name_of, sent))}")
                return True
        changed = [detail for tenant in self._new for _, detail in await self._misread(tenant)]
        for detail in changed:
            self.broken(kind, detail)
        return bool(changed)

    async def _digests(self) -> list[object]:
        return [await self._pair.view(side, "digest") for side in Side]

    async def nothing_stays(self) -> None:
        """Destroy all VMs; judge that nothing of any is left."""
        for lpid in sorted(await self._listed()):
            try:
                await until_free(partial(self._pair.vmm.destroy, Lpid(lpid)))
            except REFUSED as reason:
                self.broken(Kind.STUCK, f"destroy of lpid {lpid}: {reason}")
                return
        if left := await self._pair.svms():
            self.broken(Kind.DISAGREE, f"no VM is left, and the Ultravisor has SVMs {left}")
        for side in Side:
            seen: dict[str, Any] = await self._pair.view(side, "vms")
            if used := seen["pool"]["used"]:
                self.broken(Kind.LEAK, f"no VM is left, and {used} pages of the {side} are taken")
            broken: dict[str, Any] = await self._pair.view(side, "invariants")
            for sentence in broken["broken"]:
                self.broken(Kind.DISAGREE, sentence)
        self._look_for("ABCDabcd")

    async def _misread(self, tenant: HttpTenant) -> list[tuple[Kind, str]]:
        """Return how a guest reads other than what it stored."""
        found: list[tuple[Kind, str]] = []
        for gfn, content in tenant.marked.items():
            try:
                seen = await tenant.load(gfn)
            except REFUSED as reason:
                return [(Kind.NOT_SERVED, f"{tenant.name} is not served: {reason}")]
            if seen != content:
                found.append((Kind.BYTES_CHANGED, f"{tenant.name} reads {seen[:24]!r} in GFN {gfn}"))
        return found

    def _look_for(self, names: str, gfns: frozenset[int] | None = None) -> None:
        """Look for canaries of VMs that ended, of all pages or of `gfns`, in normal memory."""
        for content in self._pair.normal_memory():
            for match in CANARY.finditer(content):
                name, gfn = match[1].decode(), int(match[2])
                if name in names and (gfns is None or gfn in gfns):
                    self.broken(Kind.BYTES_LEFT, f"of {name}, of GFN {gfn}, in normal memory")
