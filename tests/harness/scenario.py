"""Scenarios told as Given / When / Then: after each step the ten joint invariants are judged from outside.

    story = await Story.begin(vm)
    async with story.when("the guest shares a page"):
        await vm.guest.share(gfn)

What a step writes or forgets is told to the VM (`vm.write`, `vm.wrote`), so the story knows what to expect.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Self

from harness.canaries import file_contents
from harness.joint_invariants import NOTHING, SHARED, Observation, Step, broken
from harness.live_vm import LiveVm
from pef_lab.at_rest import VmAtRest
from pef_lab.failures import Refusal
from pef_lab.guest import World
from pef_lab.watch import SlotStates
from pef_protocol.events import Side
from pef_protocol.states import UvGfnState

WATCHED: Final = 40
"""Pages of each kind that a look reads, at most."""
MAPPED: Final = frozenset({UvGfnState.SHARED.name, UvGfnState.PSEUDO_SHARED.name})
READABLE: Final = frozenset({UvGfnState.SECURE.name, UvGfnState.SHARED.name})
TO_THE_HOST: Final = SHARED | {UvGfnState.PAGEDOUT.name}


@dataclass(slots=True)
class Scenario:
    """A VM's story so far."""

    vm: LiveVm
    idle: tuple[int, int]
    now: Observation
    sealed: dict[bytes, int] = field(default_factory=dict)
    reported: list[str] = field(default_factory=list)
    exchanges_read: int = 0

    @classmethod
    async def begin(cls, vm: LiveVm) -> Self:
        """Begin with a VM that has no SVM object yet."""
        pools = await vm.pair.watch.pools()
        idle = pools[Side.HYPERVISOR], pools[Side.ULTRAVISOR]
        return cls(vm, idle, await observe(vm))

    @asynccontextmanager
    async def when(self, what: str, *, refused: str = "") -> AsyncIterator[None]:
        """Take a step, and judge it; `refused` is the code or reason with which it must be refused."""
        before, answered = self.now, ""
        try:
            yield
        except Refusal as refusal:
            if not refused or refused not in str(refusal):
                raise
            answered = refused
        assert answered == refused, f"{what} was not refused with {refused}"
        self.reported.append(what)
        self.now = await observe(self.vm)
        step = Step(
            before,
            self.now,
            bool(refused),
            dict(self.vm.wrote),
            self._leaks(),
            self._copies(),
            dict(self.sealed),
            self.idle,
        )
        complaints = broken(step) + await self.vm.pair.broken()
        assert not complaints, f"after {' / '.join(self.reported)}: {complaints}"
        for gfn, (_, state) in self.now.vm.tables.items():
            if state == UvGfnState.PAGEDOUT.name and gfn in self.now.host:
                self.sealed[self.now.host[gfn]] = gfn

    def _is_shared(self, gfn: int) -> bool:
        return self.now.vm.tables.get(gfn, (NOTHING, NOTHING))[1] in SHARED

    def _leaks(self) -> frozenset[str]:
        """Find private pages in normal memory, and in what has passed since the last step."""
        vm = self.vm
        exchanges = [*vm.pair.exchanges][self.exchanges_read :]
        self.exchanges_read += len(exchanges)
        found = vm.flock.in_all(file_contents(vm.pair.normal_memory))
        found |= vm.flock.in_all(("a body", exchange.everything) for exchange in exchanges)
        public = {f"page {gfn:#x} of VM {vm.lpid} in" for gfn in vm.wrote if self._is_shared(gfn)}
        return frozenset(leak for leak in found if not any(leak.startswith(name) for name in public))

    def _copies(self) -> dict[int, int]:
        """Count the copies in normal memory of what the guest wrote to pages that are shared now."""
        memory = [content for _, content in file_contents(self.vm.pair.normal_memory)]
        return {
            gfn: sum(content.count(page) for content in memory)
            for gfn, page in self.vm.wrote.items()
            if self._is_shared(gfn) and any(page)
        }


async def observe(vm: LiveVm) -> Observation:
    """Look at a VM from outside, without moving a page."""
    pair = vm.pair
    digests = await pair.digests()
    records = {side: (await pair.watch.vms(side))[0].get(vm.lpid) for side in Side}
    slots = {side: await pair.watch.slots(side, vm.lpid) for side in Side}
    own, theirs = _by_gfn(slots[Side.HYPERVISOR]), _by_gfn(slots[Side.ULTRAVISOR])
    states = {gfn: (own.get(gfn, NOTHING), theirs.get(gfn, NOTHING)) for gfn in own.keys() | theirs.keys()}
    pools = await pair.watch.pools()
    hv, uv = (getattr(records[side], "state", NOTHING) for side in (Side.HYPERVISOR, Side.ULTRAVISOR))
    return Observation(
        VmAtRest(hv, uv, states, vm.design),
        sum(slot.moving for side in Side for slot in slots[side]),
        (pools[Side.HYPERVISOR], pools[Side.ULTRAVISOR]),
        digests,
        await _as_the_guest(vm, states),
        await _as_the_host(vm, states),
    )


def _by_gfn(slots: tuple[SlotStates, ...]) -> dict[int, str]:
    return {
        gfn: state
        for slot in slots
        for first, count, state in slot.states
        for gfn in range(first, first + count)
    }


async def _as_the_guest(vm: LiveVm, states: dict[int, tuple[str, str]]) -> dict[int, bytes | None]:
    """Return pages that the guest can read without a page moving; None where the load is refused."""
    if vm.guest.world is not World.SECURE:
        return {}
    wanted = {*vm.wrote, *_of_kind(states, MAPPED)}
    seen: dict[int, bytes | None] = {}
    for gfn in sorted(wanted):
        if states.get(gfn, (NOTHING, NOTHING))[1] in READABLE:
            seen[gfn] = None
            with suppress(Refusal):
                seen[gfn] = await vm.load(gfn)
    return seen


async def _as_the_host(vm: LiveVm, states: dict[int, tuple[str, str]]) -> dict[int, bytes]:
    """Return pages that lie in normal memory, as the host reads them."""
    return {gfn: await vm.host_read(gfn) for gfn in _of_kind(states, TO_THE_HOST)}


def _of_kind(states: dict[int, tuple[str, str]], kind: frozenset[str]) -> Iterator[int]:
    chosen = sorted(gfn for gfn, (_, theirs) in states.items() if theirs in kind)
    yield from chosen[:WATCHED]
