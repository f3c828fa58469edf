"""Whose message is whose, and which are held: every request and answer about the small system's GFNs.

A message is told by the ids that it bears: its own, and that of the call that caused it. Loads, stores and
the VMM's operations are no calls of the protocol, and what they cause bears no such id; nor does the bus.
Such a message is of the actor that was just let go, for nobody else can run then, or of one that waited
inside a service and saw its time come.

A message acts once, however often it is sent. So one that a file has `doubled` is delivered as another one
before; and of one that is `lost` the sender is told that nobody knows what was done, and asks no more.

What is about other pages - a real image has more of them than the small system - passes by itself.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from pef_lab.between.fault_injections import reported
from pef_lab.between.passing import Answer, Passing, refusal
from pef_lab.refusing import made_up
from pef_lab.replay.counterexample import MOVES
from pef_protocol.calls import CALLS, Reply
from pef_protocol.codes import Code, HCode, UCode
from pef_protocol.events import Side
from pef_protocol.http import JSON
from pef_protocol.problems import ProblemType
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.runs import CodedRuns

OK: Final = 200
PAGE_IN: Final = "UV_PAGE_IN"
PLACED: Final = 3
"""Numbers in a run that names a real address: that, guest address, pages."""


@dataclass(eq=False, slots=True)
class Stop:
    """Where an actor stands: what it stopped at, and who waits to go on, if anybody does."""

    words: str
    go: "asyncio.Future[str | None] | None" = None


@dataclass(eq=False, slots=True)
class Actor:
    """Somebody with at most one action under way.

    `asks` is the side that the action's own first messages go to; `gfn` the GFN it is about, on the wire.
    """

    name: str
    asks: Side | None = None
    gfn: int | None = None
    stops: "asyncio.Queue[Stop]" = field(default_factory=asyncio.Queue)
    """Where it has come to a stop, and nobody has looked yet."""
    at: Stop | None = None
    ended: Stop | None = None
    task: "asyncio.Task[None] | None" = None
    unheld: bool = False
    """Its messages pass: a request of it that came twice is being answered the first time."""

    @property
    def runs(self) -> bool:
        """Tell whether it is inside a service: neither at rest nor held."""
        return self.task is not None and not self.task.done() and self.at is None

    def end(self, words: str) -> None:
        """Come to the end of the action."""
        self.ended = Stop(words)
        self.stops.put_nowait(self.ended)

    async def stop(self, words: str) -> str | None:
        """Stand at `words` until let go; return the fault that befalls what is held."""
        self.at = Stop(words, asyncio.get_running_loop().create_future())
        self.stops.put_nowait(self.at)
        assert self.at.go is not None  # noqa: S101 - just made
        return await self.at.go

    def release(self, fault: str | None = None) -> None:
        """Let it go on, if it is held."""
        stop, self.at = self.at, None
        if stop is not None and stop.go is not None and not stop.go.done():
            stop.go.set_result(fault)


class Traffic:
    """All that passes between the two services. `free`: nothing is held. `active`: who was let go last."""

    def __init__(self) -> None:
        self.free = True
        self.active: Actor | None = None
        self.on_page_in: Callable[[frozenset[int]], None] = lambda _: None
        """Called with the GFNs, on the wire, of each UV_PAGE_IN of the VM that has been answered."""
        self._lpid = 0
        self._mapped: frozenset[int] = frozenset()
        self._actors: tuple[Actor, ...] = ()
        self._calls: dict[str, Actor] = {}
        self._answers: dict[str, asyncio.Task[Answer]] = {}
        """What became of each message, by its slot and number: a repeat is the same message."""
        self._places: dict[int, int] = {}

    def follow(self, lpid: int, mapped: Iterable[int], actors: Mapping[str, Actor]) -> None:
        """Look at one VM from now on; `mapped` are the GFNs of the small system as they are on the wire."""
        self._lpid, self._mapped, self._actors = lpid, frozenset(mapped), tuple(actors.values())
        self._calls.clear()
        self._answers.clear()
        self._places.clear()

    def begin(self, call_id: str, actor: Actor) -> None:
        """Take note of a call that `actor` makes itself."""
        self._calls[call_id] = actor

    def open_up(self) -> None:
        """Let everything pass from now on, and everybody go."""
        self.free = True
        for actor in self._actors:
            actor.release()

    async def conduct(self, passing: Passing) -> web.StreamResponse:
        """See a message through; the go-betweens of both directions call this.

        One that is held for longer than its sender waits comes again: that is no other message.
        """
        task = self._answers.get(passing.slot)
        if task is None:
            task = asyncio.create_task(self._answer(passing))
            if passing.slot:
                self._answers[passing.slot] = task
                task.add_done_callback(lambda done: self._forget(passing.slot, done))
        return (await asyncio.shield(task)).response()

    def _forget(self, slot: str, task: "asyncio.Task[Answer]") -> None:
        """Forget what says nothing of the outcome: then the next repeat is passed on."""
        if task.cancelled() or task.exception() is not None or task.result().status != OK:
            self._answers.pop(slot, None)

    async def _answer(self, passing: Passing) -> Answer:
        gfns = self._gfns(passing)
        actor = None if self.free or not self._is_ours(passing, gfns) else self._actor_of(passing, gfns)
        if actor is None:
            return await self._forwarded(passing)
        if passing.call_id:
            self._calls[passing.call_id] = actor
        if actor.unheld or not self._is_about(passing, gfns):
            return await self._forwarded(passing)
        if passing.is_bus:
            await self._held(actor, MOVES)
            return await self._forwarded(passing)
        fault = await self._held(actor, f"asks {passing.name}")
        if fault == "lost":
            await self._held(actor, "answers nothing")
            return refusal(ProblemType.BROKEN, 500)
        answer = await self._delivered(passing, actor, fault)
        await self._held(actor, f"answers {self._code(passing, answer)}")
        return answer

    async def _held(self, actor: Actor, words: str) -> str | None:
        return None if self.free else await actor.stop(words)

    async def _forwarded(self, passing: Passing) -> Answer:
        answer = await passing.forward()
        if passing.name == PAGE_IN:
            self.on_page_in(self._mapped & self._gfns(passing))
        return answer

    async def _delivered(self, passing: Passing, actor: Actor, fault: str | None) -> Answer:
        if fault in {"refused", "busy"}:
            return _made_up(passing, busy=fault == "busy")
        if fault == "doubled":
            actor.unheld = True
            try:
                await passing.forward_anew()
            finally:
                actor.unheld = False
        return await self._forwarded(passing)

    def _code(self, passing: Passing, answer: Answer) -> str:
        """Return the code of an answer as far as it is about the small system's GFNs."""
        refused = answer.refused
        if not refused or "runs" not in passing.form:
            return answer.code
        for gpa, count, number in refused:
            first = gpa // PAGE_SIZE
            if self._mapped.intersection(range(first, first + count)):
                return _code_of(passing.name, number)
        return CALLS[passing.name].success.name

    def _gfns(self, passing: Passing) -> set[int]:
        """Return which GFNs a message is about, and remember where they lie; nothing for a whole VM."""
        if passing.is_bus:
            return {
                self._places[page]
                for ra, length in passing.rows
                for page in range(ra // PAGE_SIZE, -(-(ra + length) // PAGE_SIZE))
                if page in self._places
            }
        found: set[int] = set()
        for run in passing.form.get("runs", ()):
            gpa, count = run[-2:]
            found.update(range(gpa // PAGE_SIZE, gpa // PAGE_SIZE + count))
            if len(run) == PLACED and passing.form.get("lpid") == self._lpid:
                for page in range(count):
                    self._places[run[0] // PAGE_SIZE + page] = gpa // PAGE_SIZE + page
        return found

    def _is_ours(self, passing: Passing, gfns: set[int]) -> bool:
        return bool(gfns) if passing.is_bus else passing.form.get("lpid") == self._lpid

    def _is_about(self, passing: Passing, gfns: set[int]) -> bool:
        """Tell whether a message is about a GFN of the small system, or about the whole VM."""
        return bool(gfns & self._mapped) or not (passing.is_bus or "runs" in passing.form)

    def _actor_of(self, passing: Passing, gfns: set[int]) -> Actor | None:
        if passing.parent_id in self._calls:
            return self._calls[passing.parent_id]
        running = [actor for actor in self._actors if actor.runs]
        if not passing.is_bus:
            running = [actor for actor in running if actor.asks is passing.to]
        fitting = [actor for actor in running if actor.gfn is None or not gfns or actor.gfn in gfns]
        chosen = fitting or running
        return self.active if self.active in chosen else next(iter(chosen), None)


def _code_of(name: str, number: int) -> str:
    codes: type[Code] = UCode if CALLS[name].is_ultracall else HCode
    return codes(number).name


def _made_up(passing: Passing, *, busy: bool) -> Answer:
    """Return the answer of a peer that refuses a call, each of its runs, or that is busy."""
    name = passing.name
    code = made_up(name, busy=busy)
    runs = () if busy else passing.form.get("runs", ())
    refused = CodedRuns.from_rows((*run[-2:], code) for run in runs)
    return Answer(200, JSON, json.dumps(reported(name, Reply(code, refused=refused))).encode())
