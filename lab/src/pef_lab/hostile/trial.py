"""One attempt of an attack, and what came of it as seen from outside.

| outcome | meaning |
|---|---|
| `held` | every code is the promised one, and all that was looked at is as it must be |
| `BROKEN` | another code, or bytes, digests or states that an attack must not bring about |
| `not judged` | the attempt could not be made or looked at: nothing is known, and that is no success |

A code alone is no proof: an attempt after which nothing was looked at is not judged.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pef_lab.between.fault_injections import Action
from pef_lab.between.passing import Passing
from pef_lab.failures import Refusal, Unanswered
from pef_lab.guest import Guest
from pef_lab.hostile.ground import Ground
from pef_lab.hostile.requests import NAMES
from pef_lab.hostile.victim import BLANK, MEMORY, Victim, small_image
from pef_lab.image import GuestImage
from pef_protocol.calls import Reply
from pef_protocol.codes import Code
from pef_protocol.designs import Design
from pef_protocol.events import Side

UNCHANGED: Final = "unchanged"
AS_WRITTEN: Final = "as written"
AS_BUILT: Final = "as built"
ZERO: Final = "zeroes"
NOWHERE: Final = "nowhere"


class Outcome(StrEnum):
    """What came of an attempt."""

    HELD = "held"
    BROKEN = "BROKEN"
    TROUBLE = "not judged"


SETTLING: Final = 100
SETTLING_STEP: Final = 0.1
"""How often, and after how many seconds, it is looked whether pages are still in flight."""


@dataclass(frozen=True, slots=True)
class Look:
    """One thing that was looked at: what was promised, and what was seen."""

    what: str
    expected: str
    seen: str

    @property
    def ok(self) -> bool:
        """Tell whether the promise was kept."""
        return self.expected == self.seen


@dataclass
class Trial:
    """An attempt under way: it makes victims, and takes note of answers and of what was seen afterwards."""

    ground: Ground = field(repr=False)
    answers: list[Look] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    trouble: str = ""
    _victims: list[Victim] = field(default_factory=list)
    _awaited: dict[str, bool] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """Return what came of it: what is broken is so, even where the attempt went wrong afterwards."""
        if not all(each.ok for each in (*self.answers, *self.looks)):
            return Outcome.BROKEN
        return Outcome.TROUBLE if self.trouble or not self.looks else Outcome.HELD

    # What is noted

    def troubled(self, why: str) -> None:
        """Take note of why it can't be judged; the first cause stays."""
        self.trouble = self.trouble or why

    def answered(self, what: str, code: Code | str, *promised: Code | str) -> None:
        """Take note of an answer: one of the promised codes, or another."""
        name, *names = [each.name if isinstance(each, Code) else each for each in (code, *promised)]
        self.answers.append(Look(what, name if name in names else " or ".join(names), name))

    def saw(self, what: str, seen: str, expected: str) -> None:
        """Take note of what was seen."""
        self.looks.append(Look(what, expected, seen))

    def saw_bytes(self, what: str, seen: bytes, expected: bytes, words: str) -> None:
        """Take note of bytes that were read, in words: never themselves, for they may be a guest's."""
        other = ZERO if not any(seen) else "other bytes"
        self.saw(what, words if seen == expected else other, words)

    def happens(self, what: str, deed: Action) -> Action:
        """Have `deed` done on the wire; what goes wrong in it, or that it never comes to it, is trouble."""
        self._awaited.setdefault(what, False)

        async def noted(passing: Passing) -> None:
            self._awaited[what] = True
            try:
                await deed(passing)
            except (Refusal, Unanswered) as fault:
                self.troubled(f"{what}: {fault}")
                raise

        return noted

    @property
    def never_came(self) -> list[str]:
        """Return which deeds nobody gave an opportunity for."""
        return [what for what, came in self._awaited.items() if not came]

    # What is tried and looked at

    async def foiled(self, request: object, code: Code) -> Reply:
        """Make an ultracall that must be refused with a code, and change neither side."""
        before = await self.ground.digests()
        reply = await self.ground.ultracall(request)
        self.answered(NAMES[type(request)], reply.code, code)
        await self.digests_are(before)
        return reply

    async def made(self, request: object, *promised: Code) -> None:
        """Make an ultracall that must be answered with one of the promised codes."""
        reply = await self.ground.ultracall(request)
        self.answered(NAMES[type(request)], reply.code, *promised)

    async def digests_are(self, before: Mapping[Side, str]) -> None:
        """See that neither side has changed."""
        after = await self.ground.digests()
        changed = [side for side, digest in after.items() if before[side] != digest]
        self.saw("both digests", f"changed: {', '.join(changed)}" if changed else UNCHANGED, UNCHANGED)

    async def calls_acted_once(self) -> None:
        """See that no call that ended since this was looked at last was done twice."""
        events = await self.ground.watch.answered_calls()
        times = Counter((event["side"], event["call_id"], event["name"]) for event in events)
        twice = sorted({name for (_, _, name), number in times.items() if number > 1})
        self.saw("calls that acted twice", ", ".join(twice) or "none", "none")

    async def guest_finds(self, vm: Victim) -> None:
        """See that the guest reads each page as it wrote it."""
        for gfn, page in vm.wrote.items():
            await self.guest_reads(vm, gfn, page, AS_WRITTEN, what="guest's pages")

    async def guest_reads(self, vm: Victim, gfn: int, expected: bytes, words: str, *, what: str = "") -> None:
        """See what the guest reads of a page."""
        what = what or f"guest's page {gfn:#x}"
        try:
            self.saw_bytes(what, await vm.load(gfn), expected, words)
        except Refusal as refusal:
            self.saw(what, f"refused: {refusal.detail}", words)

    async def guest_reads_zero(self, vm: Victim, *gfns: int) -> None:
        """See that the guest reads zeroes of pages."""
        for gfn in gfns:
            await self.guest_reads(vm, gfn, BLANK, ZERO)

    async def image_is_whole(self, vm: Victim) -> None:
        """See that the guest reads the measured parts of its image as they were built."""
        parts = (
            (vm.image.kernel_base, vm.image.kernel),
            (vm.image.initrd_address, vm.image.initrd),
            (vm.image.rtas_address, vm.image.rtas),
        )
        for gpa, content in parts:
            what = "image in the guest"
            try:
                self.saw_bytes(what, await vm.guest.load(gpa, len(content)), content, AS_BUILT)
            except Refusal as refusal:
                self.saw(what, f"refused: {refusal.detail}", AS_BUILT)

    async def gfn_is(self, vm: Victim, gfn: int, state: str) -> None:
        """See the state of a GFN, as the Ultravisor shows it."""
        self.saw(f"GFN {gfn:#x}", await vm.state_of(gfn), state)

    async def vm_is(self, vm: Victim, state: str) -> None:
        """See the state of a VM, as the Ultravisor shows it."""
        self.saw("VM", await vm.state(), state)

    async def paged_out(self, vm: Victim, gfn: int) -> bytes:
        """Have the host touch a private page, see that it gets opaque bytes, and return them."""
        sealed = await vm.host_read(gfn)
        plain = sealed in (vm.wrote.get(gfn), BLANK)
        self.saw("host's look at a page", "its text" if plain else "ciphertext", "ciphertext")
        return sealed

    async def refuses(self, what: str, deed: Awaitable[object], *promised: Code | str) -> str:
        """See that a guest's call is refused with one of the promised codes; return the side's own words."""
        try:
            await deed
        except Refusal as refusal:
            self.answered(what, refusal.code, *promised)
            return refusal.detail
        self.answered(what, "U_SUCCESS", *promised)
        return ""

    # Victims

    @asynccontextmanager
    async def vm(
        self,
        design: Design = Design.TRACKED,
        *,
        change: Callable[[GuestImage], GuestImage] = lambda image: image,
        disk_key: bytes = b"",
    ) -> AsyncIterator[Victim]:
        """Create a normal VM with an image for its memory; destroy what is left of it at the end."""
        ground = self.ground
        image = small_image(ground.machine_public_key, disk_key or secrets.token_bytes(100))
        async with AsyncExitStack() as stack:
            lpid = await ground.vmm.create(design)
            stack.push_async_callback(ground.destroy, lpid)
            guest = await stack.enter_async_context(Guest(ground.endpoints, lpid))
            await ground.vmm.plug(lpid, 0, 0, MEMORY)
            victim = Victim(ground, guest, change(image), design)
            self._victims.append(victim)
            yield victim
            await self._nothing_is_left_half_done(victim)

    @asynccontextmanager
    async def svm(self, design: Design = Design.TRACKED) -> AsyncIterator[Victim]:
        """Create a VM and make it secure."""
        async with self.vm(design) as victim:
            await victim.boot()
            yield victim

    async def _nothing_is_left_half_done(self, victim: Victim) -> None:
        """See that no call of the VM is still open, once everybody is honest again."""
        for between in (self.ground.to_hypervisor, self.ground.to_ultravisor):
            between.honest_again()
            await between.settled()
        self.saw("pages left in flight", f"{await self.left_in_flight(victim)}", "0")

    async def left_in_flight(self, victim: Victim) -> int:
        """Return how many pages stay in flight: what was asked on for may have an outcome just now."""
        left = await victim.in_flight()
        for _ in range(SETTLING):
            if not left:
                break
            await asyncio.sleep(SETTLING_STEP)
            left = await victim.in_flight()
        return left

    def nothing_passed(self) -> None:
        """See that no private page of any victim was in anything that passed between the two sides."""
        bodies = [(f"a message of {each.name}", each.everything) for each in self.ground.exchanges]
        found = {place for victim in self._victims for place in victim.flock.in_all(bodies)}
        if any(victim.wrote for victim in self._victims):
            self.saw("private text on the wire", "; ".join(sorted(found)) or NOWHERE, NOWHERE)
