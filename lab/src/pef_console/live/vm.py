"""One VM of a live session, from its creation to its end: who acts on it, and where each action stands."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from pef_console.live.wire import FAULT_OF, HeldMessage, HeldTraffic
from pef_console.stage import NotPossible
from pef_kit.core.designs import UnknownDesign
from pef_lab.at_rest import VmAtRest
from pef_lab.endpoint import requests_named
from pef_lab.endpoints import Endpoints
from pef_lab.failures import Refusal, Unanswered, WrongInput
from pef_lab.known_designs import known_name
from pef_lab.replay.counterexample import ENDS, WAITS, Role, System
from pef_lab.replay.judge import Judge
from pef_lab.replay.stage import PRIVATE, set_up
from pef_lab.replay.stage import Stage as SmallSystem
from pef_lab.replay.traffic import Actor
from pef_lab.replay.words import Fate
from pef_protocol.designs import DesignName
from pef_protocol.events import Side
from pef_protocol.quantities import PAGE_SIZE, gpa_of
from pef_protocol.states import UvVmState

UNUSED: Final[tuple[Role, ...]] = ("unmigrated",) * 6
SYSTEM: Final = System(image=("brought", "shared", *UNUSED), plug=1, vcpus=1)
"""The GFNs that a session acts on: two of the image, six that it does not use, one to be plugged."""
FIXED: Final = 4
"""GFNs of the image that stay what they are; those after them are any that a move names."""
SETTLE: Final = 2.0
"""Seconds that are waited for what a move leads to; then it `waits` inside a service."""
ENDING: Final = 10.0
FLIP: Final = "flip a bit"
FLIPPED_AT: Final = 16
"""The byte of a page in which `flip a bit` changes one: no token lies there."""


def design_named(name: str) -> DesignName:
    """Return the design of a name; raise WrongInput, which lists all, for any other name."""
    try:
        return known_name(name)
    except UnknownDesign as fault:
        raise WrongInput(str(fault)) from None


class LiveVm:
    """A VM, its actors, and what is known of what they wrote."""

    def __init__(self, small: SmallSystem, design: DesignName, traffic: HeldTraffic) -> None:
        self.small = small
        self.design = design
        self.traffic = traffic
        self.judge = Judge(SYSTEM, design)
        guests = [f"guest {vcpu}" for vcpu in range(SYSTEM.vcpus)]
        self.actors = {name: Actor(name) for name in (*guests, "vmm", "memory")}
        self.viewing = Actor("observer", unheld=True)
        self.ending = ENDING
        """Seconds that open actions may take to end once nothing is held any more."""
        self.call_ids: dict[str, str] = {}
        """The id of the action that each actor began last."""
        self.actions: dict[str, tuple[str, int | None]] = {}
        """What each actor began last: the action, and the GFN."""
        self._used: list[int] = []
        """The small GFNs that moves have named, the last one first."""
        self._calls = 0
        traffic.follow(small.lpid, small.places.values(), {**self.actors, "observer": self.viewing})
        traffic.on_page_in = self._paged_in
        traffic.free = False

    @property
    def open_actors(self) -> list[Actor]:
        """Return whose action is under way."""
        return [actor for actor in self.actors.values() if actor.task is not None and not actor.task.done()]

    @property
    def quiescent(self) -> bool:
        """Tell whether no action is under way."""
        return not self.open_actors

    def shown_gfns(self) -> list[int]:
        """Return the GFNs that are shown by themselves: those of the image's parts, and those acted on."""
        first = self.small.places[FIXED - 2]
        plugged = [self.small.places[gfn] for gfn in SYSTEM.gfns[len(SYSTEM.image) :]]
        used = [self.small.places[gfn] for gfn in self._used]
        return [*dict.fromkeys((*used, first, self.small.places[1], self.small.places[0], *plugged))]

    def small_gfn(self, gfn: int) -> int | None:
        """Return which GFN of the small system a GFN is, or None."""
        return next((small for small, place in self.small.places.items() if place == gfn), None)

    def role_of(self, gfn: int) -> str:
        """Return the part of a GFN in the small system; empty for any other."""
        small = self.small_gfn(gfn)
        if small is None:
            return ""
        return SYSTEM.image[small] if small < len(SYSTEM.image) else "plugged"

    def place(self, gfn: int) -> int:
        """Return the small GFN of a GFN that a move names, which is one from now on; raise NotPossible."""
        found = self.small_gfn(gfn)
        if found is None:
            self._require_unused_by_image(gfn)
            spare = (small for small in range(FIXED, len(SYSTEM.image)) if small not in self._used)
            found = next(spare, None)
            if found is None:
                most = len(SYSTEM.image) - FIXED
                raise NotPossible(f"a session acts on at most {most} GFNs that its image does not use")
            self.traffic.no_longer(self.small.places[found])
            self.small.places = {**self.small.places, found: gfn}
            self.traffic.also(gfn)
        self._used = [found, *(each for each in self._used if each != found)]
        return found

    def _require_unused_by_image(self, gfn: int) -> None:
        image = self.small.image
        for gpa, content in image.layout:
            if gpa // PAGE_SIZE <= gfn <= (gpa + len(content) - 1) // PAGE_SIZE:
                raise NotPossible(
                    f"GFN {gfn} holds a part of the image: a session acts on pages that it wrote"
                )
        if not 0 <= gfn < image.memory_size // PAGE_SIZE:
            raise NotPossible(f"GFN {gfn} lies outside the memory of the image")

    async def start(self, name: str, action: str, gfn: int | None) -> str:
        """Begin an action, and return what it led to in the words of a counterexample file."""
        actor = self.actors[name]
        small = None if gfn is None else self.place(gfn)
        await self.small.before(action)
        self._calls += 1
        call_id = f"live-{self.small.lpid}-{self._calls}"
        self.call_ids[name], self.actions[name] = call_id, (action, gfn)
        actor.asks = Side.ULTRAVISOR if action == FLIP else self.small.asked_side(action)
        actor.gfn = gfn
        actor.at = actor.ended = None
        drain(actor)
        self.traffic.begin(call_id, actor)
        self.judge.begins(name, "host read" if action == FLIP else action, small)
        self.traffic.active = actor
        actor.task = asyncio.create_task(self._act(actor, action, small, call_id))
        return await self._next_stop(actor)

    async def go_on(self, message: HeldMessage, fault: str | None) -> str:
        """Let a held message go on, with a fault or none; return what its actor's action came to next."""
        action = next(action for action, known in FAULT_OF.items() if known == fault)
        if action not in message.actions:
            raise NotPossible(
                f"{message.stop.words}: that can't be {fault}, only {', '.join(message.actions)}"
            )
        self.judge.faulty |= fault is not None
        drain(message.actor)
        self.traffic.let_pass(message, fault)
        waiting = self.traffic.held_of(message.actor)
        return waiting.stop.words if waiting else await self._next_stop(message.actor)

    @contextmanager
    def unheld(self, call_id: str) -> Iterator[None]:
        """Hold nothing in the block of what a request of this task, which bears `call_id`, needs."""
        self.viewing.task = asyncio.current_task()
        self.traffic.begin(call_id, self.viewing)
        self.traffic.active = self.viewing
        try:
            yield
        finally:
            self.viewing.task = None

    async def _act(self, actor: Actor, action: str, small: int | None, call_id: str) -> None:
        vcpu = int(actor.name[-1]) if actor.name.startswith("guest") else 0
        gfn = 0 if small is None else small
        fate: Fate | None = None
        try:
            with requests_named(call_id):
                if action == FLIP:
                    fate = await self._flip(gfn)
                    word = "OK"
                else:
                    word = await self.small.act(action, gfn, vcpu, call_id)
        except Refusal as refusal:
            word = refusal.code
        except Unanswered as failure:
            word = f"without an answer: {failure}"
        self.judge.ends(actor.name, word, self.small.words.fate.get(gfn, Fate.OPEN))
        if fate is Fate.ASTRAY:
            self.judge.begins(actor.name, "host write", small)
            self.judge.ends(actor.name, word, fate)
        actor.end(ENDS + word)
        self.traffic.on_change()

    async def _flip(self, small: int) -> Fate:
        """Change a bit of a page as the host does; return whether it fell on ciphertext."""
        gpa = gpa_of(self.small.places[small]) + FLIPPED_AT
        vmm, lpid = self.small.vmm, self.small.lpid
        (octet,) = await vmm.read(lpid, gpa, 1)
        await vmm.write(lpid, gpa, bytes([octet ^ 1]))
        secure = await self.small.state(Side.ULTRAVISOR) == UvVmState.SECURE.name
        private = (await self.small.tables())[small][1] in PRIVATE
        return Fate.ASTRAY if secure and private else Fate.OPEN

    async def _next_stop(self, actor: Actor) -> str:
        try:
            async with asyncio.timeout(SETTLE):
                return (await actor.stops.get()).words
        except TimeoutError:
            return WAITS

    def _paged_in(self, gfns: frozenset[int]) -> None:
        self.judge.offered(small for small in map(self.small_gfn, gfns) if small is not None)

    async def rest(self, node: int, hypervisor: str, ultravisor: str) -> None:
        """Have the judge see both sides at rest after a node."""
        if self.quiescent:
            seen = VmAtRest(hypervisor, ultravisor, await self.small.tables(), self.design)
            self.judge.rests(node, seen)

    async def end(self) -> None:
        """Fail what is held, let the rest pass, and wait a bounded time for the actions to end."""
        self.traffic.end_all()
        tasks = [actor.task for actor in self.actors.values() if actor.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self.ending)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def drain(actor: Actor) -> None:
    """Forget where an actor stopped while nobody waited for it."""
    while not actor.stops.empty():
        actor.stops.get_nowait()


@asynccontextmanager
async def created(
    design: DesignName, endpoints: Endpoints, traffic: HeldTraffic, memory: int
) -> AsyncIterator[LiveVm]:
    """Create a VM with `memory` bytes and an image, and end it."""
    async with set_up(SYSTEM, design, endpoints, memory) as small:
        vm = LiveVm(small, design, traffic)
        try:
            yield vm
        finally:
            await vm.end()
