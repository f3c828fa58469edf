"""Plays a counterexample over HTTP, step by step, and compares what happens with what the file says.

Whatever is about the small system's GFNs is held on the wire until the schedule lets it go, so nothing runs
but what a step lets run. Only an operation that waits inside a service tries again by itself: it may see its
time come before its next step, and is held then at the first message that it sends.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import httpx

from pef_lab.at_rest import VmAtRest
from pef_lab.failures import Unanswered
from pef_lab.replay.counterexample import ENDS, UNSEEN, WAITS, Counterexample, ScheduleStep
from pef_lab.replay.judge import Breach, Judge
from pef_lab.replay.playable import fits
from pef_lab.replay.stage import Stage, set_up
from pef_lab.replay.traffic import Actor, Stop
from pef_lab.replay.wire import Wire
from pef_lab.replay.words import Fate, agrees
from pef_protocol.events import Side

TIMEOUT: Final = 30.0
ROUNDS: Final = 3
"""Requests that a service answers until it has surely begun with one that was sent before them."""


class Difference(Exception):
    """The first thing that came out otherwise than the file says: where, what it says, what was seen."""

    def __init__(self, where: str, expected: str, seen: str) -> None:
        super().__init__(f"{where}: the file says {expected!r}, seen {seen!r}")
        self.where, self.expected, self.seen = where, expected, seen


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was seen: both tables at the violation, what guest and host read in the end, and the verdict."""

    tables: dict[int, tuple[str, str]]
    observations: dict[int, tuple[str, str]]
    breaches: tuple[Breach, ...]
    """What was seen to be broken, whatever the file says."""


async def run_counterexample(found: Counterexample, wire: Wire, time_limit: float = TIMEOUT) -> Replayed:
    """Play `found` on a VM of its own; raise Difference at the first difference.

    `time_limit`: seconds that are waited for whatever a step leads to.
    """
    fits(found)
    async with set_up(found.system, found.design, wire.endpoints) as stage:
        player = Player(found, stage, wire, time_limit)
        try:
            return await player.run_counterexample()
        finally:
            await player.end()


class Player:
    """Plays one counterexample on one stage."""

    def __init__(
        self,
        found: Counterexample,
        stage: Stage,
        wire: Wire,
        time_limit: float,
    ) -> None:
        self._found = found
        self._stage = stage
        self._traffic = wire.traffic
        self._endpoints = wire.endpoints
        self._deadline = time_limit
        self._actors: dict[str, Actor] = {
            name: Actor(name) for name in sorted({step.actor for step in found.steps})
        }
        self._calls = 0
        self._judge = Judge(found.system, found.design)
        small = {on_wire: gfn for gfn, on_wire in stage.places.items()}
        self._traffic.on_page_in = lambda gfns: self._judge.offered(small[gfn] for gfn in gfns)
        self._traffic.follow(stage.lpid, stage.places.values(), self._actors)

    async def run_counterexample(self) -> Replayed:
        """Play all steps; raise Difference at the first that leads elsewhere."""
        self._traffic.free = False
        tables = await self._tables(0)
        await self._at_rest(0)
        for number, step in enumerate(self._found.steps, start=1):
            await self._play(number, step)
            tables = await self._tables(number) or tables
            await self._at_rest(number)
        await self.end()
        observations = await self._observations()
        return Replayed(tables, observations, tuple(self._judge.breaches.values()))

    async def end(self) -> None:
        """Let everything pass, and wait until every action has ended."""
        self._traffic.open_up()
        under_way = [actor.task for actor in self._actors.values() if actor.task is not None]
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=self._deadline)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _play(self, number: int, step: ScheduleStep) -> None:
        actor = self._traffic.active = self._actors[step.actor]
        if step.starts:
            await self._stage.before(step.action)
            await self._start(actor, step)
        elif actor.at is not None and actor.stops.empty():
            self._judge.faulty |= step.fault is not None
            actor.release(step.fault)
        if step.leads_to in UNSEEN:
            await self._reached()
            if step.leads_to == WAITS and (ended := actor.ended):
                raise Difference(f"step {number} ({step})", WAITS, ended.words)
            return
        seen = await self._next_stop(actor)
        if not agrees(step.leads_to, seen.words):
            raise Difference(f"step {number} ({step})", step.leads_to, seen.words)

    async def _start(self, actor: Actor, step: ScheduleStep) -> None:
        self._calls += 1
        call_id = f"replay-{self._stage.lpid}-{self._calls}"
        gfn = step.gfn or 0
        actor.asks = self._stage.asked_side(step.action)
        actor.gfn = None if step.gfn is None else self._stage.places[step.gfn]
        actor.at = actor.ended = None
        self._traffic.begin(call_id, actor)
        self._judge.begins(actor.name, step.action, step.gfn)
        vcpu = int(step.actor[-1]) if step.actor.startswith("guest") else 0
        actor.task = asyncio.create_task(self._act(actor, step.action, gfn, vcpu, call_id))

    async def _act(self, actor: Actor, action: str, gfn: int, vcpu: int, call_id: str) -> None:
        try:
            word = await self._stage.act(action, gfn, vcpu, call_id)
        except Unanswered as failure:
            word = f"without an answer: {failure}"
        self._judge.ends(actor.name, word, self._stage.words.fate.get(gfn, Fate.OPEN))
        actor.end(ENDS + word)

    async def _next_stop(self, actor: Actor) -> Stop:
        try:
            async with asyncio.timeout(self._deadline):
                return await actor.stops.get()
        except TimeoutError:
            return Stop(f"nothing, within {self._deadline:g} s")

    async def _reached(self) -> None:
        """Wait until both services have begun with what was sent to them."""
        urls = (self._endpoints.ultravisor_url, self._endpoints.hypervisor_url)
        async with httpx.AsyncClient(trust_env=False, timeout=self._deadline) as client:
            for url in urls * ROUNDS:
                await client.get(url + "/livez")

    async def _tables(self, number: int) -> dict[int, tuple[str, str]]:
        """Compare the tables if this is the moment at which the invariant is broken."""
        if number != self._found.violated_after:
            return {}
        tables = await self._stage.tables()
        for gfn, expected in self._found.tables.items():
            seen = tables[int(gfn)]
            if seen != expected:
                where = f"tables after step {number}, GFN {gfn}"
                raise Difference(where, _states(expected), _states(seen))
        return tables

    async def _at_rest(self, number: int) -> None:
        """Have the judge look at both sides, if no action is under way."""
        if any(actor.task is not None and not actor.task.done() for actor in self._actors.values()):
            return
        stage = self._stage
        hypervisor, ultravisor = await stage.state(Side.HYPERVISOR), await stage.state(Side.ULTRAVISOR)
        self._judge.rests(number, VmAtRest(hypervisor, ultravisor, await stage.tables(), self._judge.design))

    async def _observations(self) -> dict[int, tuple[str, str]]:
        observations = await self._stage.observations()
        for gfn, (guest, host) in observations.items():
            self._judge.guest_found(gfn, guest)
            self._judge.host_found(gfn, host)
        for number, said in self._found.observations.items():
            guest, host = observations[int(number)]
            for eye, expected, seen in (("guest", said.guest, guest), ("host", said.host, host)):
                if not agrees(expected, seen):
                    raise Difference(f"look of the {eye} at GFN {number} after the last step", expected, seen)
        return observations


def _states(pair: tuple[str, str]) -> str:
    return f"Hypervisor {pair[0]}, Ultravisor {pair[1]}"
