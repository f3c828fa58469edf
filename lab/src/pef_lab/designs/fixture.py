"""The scene of one run: a VM of one design, its image, three actors, ways to look at it from outside."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from pef_lab.designs.plan import Plan, Run
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal, Unanswered
from pef_lab.findings import Findings
from pef_lab.guest import LARGEST_ACCESS, Guest
from pef_lab.image import GuestImage
from pef_lab.joint import Comparison, JointRun, compare
from pef_lab.pages import Generation, Tally, kinds_of, text_of
from pef_lab.sizes import counted
from pef_lab.trace import Recording
from pef_lab.vmm import Vmm
from pef_lab.watch import Watch
from pef_protocol.designs import DesignName
from pef_protocol.events import Side
from pef_protocol.quantities import Lpid, gfn_of, gpa_of

SVM_STATES: Final = frozenset({"ACTIVE", "SECURE", "ABORT"})
"""States by which the Ultravisor lists a VM that has an SVM object."""


@dataclass(slots=True)
class Fixture:
    """A VM under observation.

    `known` are the disagreements of the two tables that are put down to a step already; `pools` tells how
    many pages of each pool were in use at some moment.
    """

    design: DesignName
    plan: Plan
    image: GuestImage
    guest: Guest
    vmm: Vmm
    watch: Watch
    findings: Findings
    recording: Recording
    known: tuple[JointRun, ...] = ()
    pools: dict[str, dict[Side, int]] = field(default_factory=dict)

    @property
    def lpid(self) -> Lpid:
        """Return the VM's lpid."""
        return self.guest.lpid

    async def load_image(self) -> None:
        """Write the image into guest memory, as the host does before a boot."""
        for gpa, content in self.image.layout:
            await self.vmm.write(self.lpid, gpa, content)
        await self.did("the host loads the image")

    async def guest_writes(self, generation: Generation, runs: Iterable[Run]) -> None:
        """Have the guest write the text of `generation` into `runs`."""
        for run in runs:
            for part in run.parts(LARGEST_ACCESS):
                await self.guest.store(part.gpa, text_of(generation, part.first, part.count))
        await self.did(f"guest writes: {generation.words}")

    async def guest_sees(self, what: str, runs: Iterable[Run], expected: str, *allowed: int) -> bool:
        """Observe what kinds of pages the guest reads in `runs`; return whether all are allowed ones."""
        tally = Tally.empty()
        for run in runs:
            async for gpa, octets in self.guest.load_range(run.gpa, run.size):
                tally.add(kinds_of(octets, gfn_of(gpa)), gfn_of(gpa))
        await self.did(what)
        return self.findings.see(what, expected, str(tally), ok=tally.only(*allowed))

    async def host_sees(self, what: str, runs: Iterable[Run], expected: str, *allowed: int) -> bool:
        """Observe what kinds of pages the host reads in `runs`; return whether all are allowed ones."""
        tally = await self.host_touches(what, runs)
        return self.findings.see(what, expected, str(tally), ok=tally.only(*allowed))

    async def host_touches(self, what: str, runs: Iterable[Run]) -> Tally:
        """Have the host read `runs`, which pages out what is secure; return the kinds of pages it read."""
        tally = Tally.empty()
        for run in runs:
            for part in run.parts(LARGEST_ACCESS):
                octets = await self.vmm.read(self.lpid, part.gpa, part.size)
                tally.add(kinds_of(octets, part.first), part.first)
        await self.did(what)
        return tally

    async def guest_sees_image(self, what: str) -> bool:
        """Observe whether the guest reads the measured pieces as they were built."""
        pieces = {
            "kernel": (self.image.kernel_base, self.image.kernel),
            "initrd": (self.image.initrd_address, self.image.initrd),
            "RTAS area": (self.image.rtas_address, self.image.rtas),
            "ESM blob": (self.image.esm_blob_address, self.image.esm_blob),
        }
        changed = []
        for name, (gpa, content) in pieces.items():
            read = b"".join([octets async for _, octets in self.guest.load_range(gpa, len(content))])
            changed += [name] if read != content else []
        observed = f"changed: {', '.join(changed)}" if changed else "as they were built"
        await self.did(what)
        return self.findings.see(what, "as they were built", observed, ok=not changed)

    async def tables(self) -> Comparison:
        """Lay the two tables of the VM side by side."""
        records, _ = await self.watch.vms(Side.ULTRAVISOR)
        listed = records.get(self.lpid)
        is_svm = listed is not None and listed.state in SVM_STATES
        own = await self.watch.slots(Side.HYPERVISOR, self.lpid)
        theirs = await self.watch.slots(Side.ULTRAVISOR, self.lpid) if is_svm else None
        return compare(own, theirs, self.design)

    async def tables_agree(self, when: str, *, anew: bool = False) -> bool:
        """Observe whether the two tables agree, but for what they disagreed on when last looked at `anew`."""
        tables = await self.tables()
        fresh = tables if anew else tables.beyond(self.known)
        observed = str(fresh)
        if fresh != tables:
            observed = f"as before: {tables}" if fresh.agree else f"beside those of before, {fresh}"
        if anew:
            self.known = tables.disagreements
        return self.findings.see(f"both tables {when}", "they agree on every GFN", observed, ok=fresh.agree)

    async def remember_pools(self, moment: str) -> None:
        """Remember how full both pools are."""
        self.pools[moment] = await self.watch.pools()

    async def pools_are_as(self, moment: str, when: str) -> bool:
        """Observe whether both pools are back where they were at `moment`."""
        before, now = self.pools[moment], await self.watch.pools()
        return self.findings.see(f"pages in use {when}", _pages(before), _pages(now), ok=before == now)

    async def did(self, step: str) -> None:
        """Put the events since the last time into the recording, as those of `step`."""
        await self.recording.note(step)


def _pages(used: dict[Side, int]) -> str:
    return ", ".join(f"{side} {counted(pages, 'page')}" for side, pages in used.items())


@asynccontextmanager
async def set_up(
    design: DesignName,
    plan: Plan,
    image: GuestImage,
    endpoints: Endpoints,
    findings: Findings,
    recording: Recording,
) -> AsyncIterator[Fixture]:
    """Create a VM with one slot; destroy it at the end if it is still there."""
    async with AsyncExitStack() as stack:
        watch = await stack.enter_async_context(Watch(endpoints))
        vmm = await stack.enter_async_context(Vmm(endpoints))
        recording.follow(design, watch)
        lpid = await vmm.create(design)
        guest = await stack.enter_async_context(Guest(endpoints, lpid))
        stack.push_async_callback(_destroy, vmm, lpid)
        await vmm.plug(lpid, 0, gpa_of(0), plan.size)
        fixture = Fixture(design, plan, image, guest, vmm, watch, findings, recording)
        await fixture.did("a VM is created")
        yield fixture


async def _destroy(vmm: Vmm, lpid: Lpid) -> None:
    """Destroy what is left of the VM; a service that is gone has nothing left."""
    try:
        await vmm.destroy(lpid)
    except (Refusal, Unanswered):
        return
