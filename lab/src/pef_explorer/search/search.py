"""The search over everything that can happen to one small VM, from still state to still state, nearest first.

What concerns one GFN alone is explored once for each condition that a GFN can be in, and then done to every
still state in which a GFN is in that condition: the other GFNs make no difference to it. What concerns the
whole VM is explored from every still state.
"""

import gc
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pef_explorer.actions.move import Move
from pef_explorer.invariants import EVERY_CALL_ENDS
from pef_explorer.plan import NO_TROUBLES, Plan
from pef_explorer.search.expansion import AND_RESET, PLUG, WHOLE, Epoch
from pef_explorer.search.graph import Graph, digest_of
from pef_explorer.world.quiescence import blank, filled_key, rest
from pef_explorer.world.records import Still
from pef_explorer.world.state_key import part_of
from pef_explorer.world.world import World

FIRST: Final = 1
"""The number of the state in which everything begins."""


class Fall(NamedTuple):
    """An invariant that fell: what was seen, and the shortest moves from the beginning.

    `waits`: on the way somebody has to wait, and over HTTP nobody can hold a service that does.
    """

    invariant: str
    sentence: str
    moves: tuple[Move, ...]
    waits: bool = False

    @property
    def cost(self) -> tuple[bool, int]:
        """Return what makes one fall worse to tell than another."""
        return self.waits, len(self.moves)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found. `depth`: moves to the farthest state, or as far as everything was seen."""

    plan: Plan
    states: int
    transitions: int
    depth: int
    complete: bool
    falls: tuple[Fall, ...]


@dataclass(slots=True)
class Local:
    """What can happen to a GFN in one condition: the shortest moves to each outcome, and to each breach."""

    ends: list[tuple[Move, ...]]
    falls: list[Fall]
    at: list[int] = field(default_factory=list)
    """The still states in which a GFN is in that condition."""


class Progress(NamedTuple):
    """How far a search is."""

    states: int
    transitions: int
    waiting: int
    depth: int


class Search:
    """A search of one plan; it can be stopped at any still state, pickled, and gone on with.

    It goes on beyond a breach, for others may follow from it.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.graph = Graph()
        self.transitions = 0
        self.runs = 0
        self._locals: dict[bytes, Local] = {}
        self._local_states = 0
        self._local_falls: list[int] = []
        self._waiting: list[tuple[int, int, Still]] = []
        self._blank: list[tuple[bytes, tuple[int, int, Still]]] = []
        world = World(plan)
        rest(world)
        number, _ = self.graph.number(("still", world.key()))
        self.graph.still.add(number)
        heapq.heappush(self._waiting, (0, number, world.still()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def go_on(self, stop: Callable[[Progress], bool]) -> None:
        """Explore epoch by epoch until nothing is left, or `stop` says so."""
        world = World(self.plan)
        with undisturbed():
            while self._waiting and not stop(self.progress):
                depth, number, still = heapq.heappop(self._waiting)
                self._from(world, depth, number, still)
                if not self._waiting:
                    self._fill()

    @property
    def nearest_fall(self) -> int | None:
        """Return how far the nearest fall is by now, or None; what never ends shows only at the end."""
        return min([*self.graph.nearest.values(), *self._local_falls], default=None)

    @property
    def progress(self) -> Progress:
        """Return how far the search is."""
        depth = self._waiting[0][0] if self._waiting else 0
        return Progress(len(self.graph) + self._local_states, self.transitions, len(self._waiting), depth)

    def _from(self, world: World, depth: int, number: int, still: Still) -> None:
        epoch = Epoch(world, still, WHOLE, self.graph)
        epoch.explore(number, depth)
        self._note(epoch)
        for far, found, each in epoch.found:
            self._push(world, depth + far, found, each)
        if still.snapshot.parked is not None:
            return
        for scope in self._scopes(world, still):
            world.put_back(still)
            local = self._local(world, still, scope)
            if not local.at:
                self._local_falls += [depth + len(fall.moves) for fall in local.falls]
            local.at.append(number)
            for moves in local.ends:
                self._apply(world, depth, number, still, moves)

    def _scopes(self, world: World, still: Still) -> list[int]:
        """Return the scopes that are explored once for each condition: none where the wire fails, too."""
        if self.plan.troubles != NO_TROUBLES:
            return []
        world.put_back(still)
        pages = [gfn for gfn in range(self.plan.pages) if world.system.normal_page(gfn) is not None]
        plug = [PLUG] if self.plan.plug else []
        return [*range(len(self.plan.image)), *plug, *(gfn + AND_RESET for gfn in pages)]

    def _note(self, epoch: Epoch) -> None:
        self.transitions += epoch.transitions
        self.runs += epoch.runs

    def _local(self, world: World, still: Still, scope: int) -> Local:
        """Return what can happen to one GFN, or to slot 1; explore it where that was not done yet."""
        key = digest_of((scope, world.faults, [*_conditions(world, scope)]))
        local = self._locals.get(key)
        if local is None:
            graph = Graph()
            graph.number(("still", world.key()))
            epoch = Epoch(world, still, scope, graph)
            epoch.explore(FIRST, 0)
            self._note(epoch)
            self._local_states += len(graph) - 1
            ways = graph.ways()
            ends = [ways.to(each) for each in sorted(graph.still)]
            local = self._locals[key] = Local(ends, _falls(self.plan, graph))
        return local

    def _apply(self, world: World, depth: int, number: int, still: Still, moves: tuple[Move, ...]) -> None:
        """Do to a still state what can happen to one of its GFNs."""
        world.put_back(still)
        for move in moves:
            world.do(move)
        made = (*moves, *rest(world))
        after, new = self.graph.number(("still", world.key()))
        self.graph.join(number, after, made)
        if new:
            self.graph.still.add(after)
            self._push(world, depth + len(made), after, world.still())

    def _push(self, world: World, depth: int, number: int, still: Still) -> None:
        """Keep a still state to go on from, unless the same one with bytes in its pages says more."""
        world.put_back(still)
        place = depth, number, still
        if blank(world):
            self._blank.append((digest_of(("still", filled_key(world))), place))
        else:
            heapq.heappush(self._waiting, place)

    def _fill(self) -> None:
        """Go on from blank states, too, whose like with bytes in its pages was not found."""
        for digest, place in self._blank:
            if digest not in self.graph.numbers:
                heapq.heappush(self._waiting, place)
        self._blank.clear()

    def found(self) -> Found:
        """Return what was found so far."""
        ways = self.graph.ways()
        falls = _falls(self.plan, self.graph)
        for local in self._locals.values():
            if not local.falls:
                continue
            nearest = min(local.at, key=lambda number: ways.far[number])
            way = ways.to(nearest)
            falls += [fall._replace(moves=(*way, *fall.moves)) for fall in local.falls]
        depth = self._waiting[0][0] if self._waiting else max(ways.far)
        return Found(
            self.plan,
            len(self.graph) + self._local_states,
            self.transitions,
            depth,
            not self._waiting,
            tuple(sorted(_best(falls), key=lambda fall: (len(fall.moves), fall.invariant))),
        )


def _conditions(world: World, scope: int) -> Iterator[Any]:
    """Yield the condition of each GFN that a scope deals with."""
    plan = world.plan
    if scope >= AND_RESET:
        yield world.now.registered
        scope -= AND_RESET
    if scope == PLUG:
        yield world.system.hv.store.vms[1].slots.get(1) is not None
    for gfn in plan.plugged if scope == PLUG else (scope,):
        slot = int(gfn >= len(plan.image))
        yield part_of(world.now, world.oracle, gfn, slot, world.system.normal_page(gfn))


def _falls(plan: Plan, graph: Graph) -> list[Fall]:
    """Return the shortest way to the fall of each invariant in a graph; without waiting, if there is one."""
    found = [(each.state, Fall(each.invariant, each.sentence, each.moves)) for each in graph.breaches]
    if EVERY_CALL_ENDS not in plan.ignored:
        never = Fall(EVERY_CALL_ENDS, "the open calls wait for each other", ())
        found += [(state, never) for state in graph.without_end()]
    falls: dict[str, Fall] = {}
    for waits, ways in ((False, graph.ways(waiting=False)), (True, graph.ways())) if found else ():
        reached = [
            fall._replace(moves=(*ways.to(state), *fall.moves), waits=waits)
            for state, fall in found
            if ways.far[state] >= 0 and fall.invariant not in falls
        ]
        falls |= {fall.invariant: fall for fall in _best(reached)}
    return list(falls.values())


def _best(falls: list[Fall]) -> list[Fall]:
    """Return the fall of each invariant that is best to tell: without waiting, and of these the shortest."""
    best: dict[str, Fall] = {}
    for fall in falls:
        if fall.invariant not in best or fall.cost < best[fall.invariant].cost:
            best[fall.invariant] = fall
    return list(best.values())


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the collector of cycles away: there are few, and millions of objects to look at."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
