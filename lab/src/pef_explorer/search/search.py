"""The search over everything that can happen to one small VM, from quiescent state to quiescent state.

What concerns one GFN alone is explored once for each condition that a GFN can be in, and then done to every
quiescent state in which a GFN is in that condition: the other GFNs make no difference to it. What concerns
the whole VM is explored from every quiescent state. The nearest state comes first.
"""

import gc
import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pef_explorer.actions.move import Move
from pef_explorer.invariants import EVERY_CALL_ENDS
from pef_explorer.plan import NO_TROUBLES, Plan
from pef_explorer.search.expansion import AND_RESET, PLUG, WHOLE, Expansion
from pef_explorer.search.graph import Graph, digest_of
from pef_explorer.world.quiescence import blank, key_with_contents, rest
from pef_explorer.world.records import SettledState
from pef_explorer.world.state_key import part_of
from pef_explorer.world.world import World

FIRST: Final = 1
"""The number of the state in which everything begins."""


class Violation(NamedTuple):
    """An invariant that was violated: what was seen, and the shortest moves from the beginning.

    `waits`: on the way somebody has to wait, and over HTTP nobody can hold a service that does.
    """

    invariant: str
    sentence: str
    moves: tuple[Move, ...]
    waits: bool = False

    @property
    def cost(self) -> tuple[bool, int]:
        """Return the key by which violations are compared: the smallest is the best to report."""
        return self.waits, len(self.moves)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found. `depth`: moves to the farthest state, or as far as everything was seen."""

    plan: Plan
    states: int
    transitions: int
    depth: int
    complete: bool
    violations: tuple[Violation, ...]


@dataclass(slots=True)
class Local:
    """What can happen to a GFN in one condition: the shortest moves to each outcome, and to each breach."""

    ends: list[tuple[Move, ...]]
    violations: list[Violation]
    at: list[int] = field(default_factory=list)
    """The quiescent states in which a GFN is in that condition."""


class Progress(NamedTuple):
    """How far a search is."""

    states: int
    transitions: int
    frontier: int
    depth: int


class Search:
    """A search of one plan; it can be stopped after any run of moves, pickled, and continued.

    It goes on beyond a breach, for others may follow from it.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.graph = Graph()
        self.transitions = 0
        self.runs = 0
        self._locals: dict[bytes, Local] = {}
        self._local_states = 0
        self._local_violations: list[int] = []
        self._frontier: list[tuple[int, int, SettledState]] = []
        self._current: tuple[int, int, Expansion] | None = None
        """The expansion that is under way, with the distance and the number of where it began."""
        self._blank: list[tuple[bytes, tuple[int, int, SettledState]]] = []
        world = World(plan)
        rest(world)
        number, _ = self.graph.number(("settled", world.key()))
        self.graph.settled.add(number)
        heapq.heappush(self._frontier, (0, number, world.saved()))

    def __bool__(self) -> bool:
        return bool(self._frontier) or self._current is not None

    def go_on(self, stop: Callable[[Progress], bool]) -> None:
        """Explore expansion by expansion until nothing is left, or `stop` says so."""
        world = World(self.plan)
        with undisturbed():
            while self and not stop(self.progress):
                if self._current is None:
                    depth, number, settled = heapq.heappop(self._frontier)
                    expansion = Expansion(world, settled, WHOLE, self.graph)
                    expansion.begin(number, depth)
                    self._current = depth, number, expansion
                depth, number, expansion = self._current
                if not expansion.go_on(world, lambda: stop(self.progress)):
                    return
                self._current = None
                self._end(world, depth, number, expansion)
                if not self._frontier:
                    self._fill()

    @property
    def nearest_violation(self) -> int | None:
        """Return how far the nearest violation is by now, or None; what never ends shows only at the end."""
        return min([*self.graph.nearest.values(), *self._local_violations], default=None)

    @property
    def progress(self) -> Progress:
        """Return how far the search is."""
        states = len(self.graph) + self._local_states
        return Progress(states, self._transitions, len(self._frontier), self._depth)

    @property
    def _transitions(self) -> int:
        """Return the transitions that were made, those of the expansion under way included."""
        return self.transitions + (self._current[2].transitions if self._current else 0)

    @property
    def _depth(self) -> int:
        """Return the distance up to which everything was seen, where something is left."""
        if self._current is not None:
            return self._current[0]
        return self._frontier[0][0] if self._frontier else 0

    def _end(self, world: World, depth: int, number: int, expansion: Expansion) -> None:
        """Take over what an expansion has found, and do what concerns one GFN alone."""
        self._note(expansion)
        settled = expansion.settled
        for far, found, each in expansion.found:
            self._push(world, depth + far, found, each)
        if settled.snapshot.suspended is not None:
            return
        for scope in self._scopes(world, settled):
            world.put_back(settled)
            local = self._local(world, settled, scope)
            if not local.at:
                self._local_violations += [depth + len(violation.moves) for violation in local.violations]
            local.at.append(number)
            for moves in local.ends:
                self._apply(world, depth, number, settled, moves)

    def _scopes(self, world: World, settled: SettledState) -> list[int]:
        """Return the scopes that are explored once for each condition: none where the wire fails, too."""
        if self.plan.troubles != NO_TROUBLES:
            return []
        world.put_back(settled)
        pages = [gfn for gfn in range(self.plan.pages) if world.system.normal_page(gfn) is not None]
        plug = [PLUG] if self.plan.plug else []
        return [*range(len(self.plan.image)), *plug, *(gfn + AND_RESET for gfn in pages)]

    def _note(self, expansion: Expansion) -> None:
        self.transitions += expansion.transitions
        self.runs += expansion.runs

    def _local(self, world: World, settled: SettledState, scope: int) -> Local:
        """Return what can happen to one GFN, or to slot 1; explore it where that was not done yet."""
        key = digest_of((scope, world.faults, [*_conditions(world, scope)]))
        local = self._locals.get(key)
        if local is None:
            graph = Graph()
            graph.number(("settled", world.key()))
            expansion = Expansion(world, settled, scope, graph)
            expansion.explore(FIRST, 0)
            self._note(expansion)
            self._local_states += len(graph) - 1
            paths = graph.paths()
            ends = [paths.to(each) for each in sorted(graph.settled)]
            local = self._locals[key] = Local(ends, _violations(self.plan, graph))
        return local

    def _apply(
        self, world: World, depth: int, number: int, settled: SettledState, moves: tuple[Move, ...]
    ) -> None:
        """Do to a quiescent state what can happen to one of its GFNs."""
        world.put_back(settled)
        for move in moves:
            world.do(move)
        made = (*moves, *rest(world))
        after, new = self.graph.number(("settled", world.key()))
        self.graph.join(number, after, made)
        if new:
            self.graph.settled.add(after)
            self._push(world, depth + len(made), after, world.saved())

    def _push(self, world: World, depth: int, number: int, settled: SettledState) -> None:
        """Keep a quiescent state to go on from, unless the same one with bytes in its pages says more."""
        world.put_back(settled)
        place = depth, number, settled
        if blank(world):
            self._blank.append((digest_of(("settled", key_with_contents(world))), place))
        else:
            heapq.heappush(self._frontier, place)

    def _fill(self) -> None:
        """Go on from blank states, too, whose like with bytes in its pages was not found."""
        for digest, place in self._blank:
            if digest not in self.graph.numbers:
                heapq.heappush(self._frontier, place)
        self._blank.clear()

    def found(self) -> Found:
        """Return what was found so far."""
        paths = self.graph.paths()
        violations = _violations(self.plan, self.graph, self._current[2].unfinished if self._current else ())
        for local in self._locals.values():
            if not local.violations:
                continue
            nearest = min(local.at, key=lambda number: paths.far[number])
            path = paths.to(nearest)
            violations += [
                violation._replace(moves=(*path, *violation.moves)) for violation in local.violations
            ]
        return Found(
            self.plan,
            len(self.graph) + self._local_states,
            self._transitions,
            self._depth if self else max(paths.far),
            not self,
            tuple(
                sorted(_best(violations), key=lambda violation: (len(violation.moves), violation.invariant))
            ),
        )


def _conditions(world: World, scope: int) -> Iterator[Any]:
    """Yield what the host has kept, and the condition of each GFN that a scope deals with."""
    plan = world.plan
    yield world.kept_key()
    if scope >= AND_RESET:
        yield world.now.registered
        scope -= AND_RESET
    if scope == PLUG:
        yield world.system.hv.store.vms[1].slots.get(1) is not None
    for gfn in plan.plugged if scope == PLUG else (scope,):
        slot = int(gfn >= len(plan.image))
        yield part_of(world.now, world.oracle, gfn, slot, world.system.normal_page(gfn))


def _violations(plan: Plan, graph: Graph, unfinished: Iterable[int] = ()) -> list[Violation]:
    """Return the shortest violation of each invariant in a graph; without waiting, if there is one.

    `unfinished`: states of which not every move was made.
    """
    found = [(each.state, Violation(each.invariant, each.sentence, each.moves)) for each in graph.breaches]
    if EVERY_CALL_ENDS not in plan.ignored:
        never = Violation(EVERY_CALL_ENDS, "the open calls wait for each other", ())
        found += [(state, never) for state in graph.without_end(unfinished)]
    violations: dict[str, Violation] = {}
    for waits, paths in ((False, graph.paths(with_waits=False)), (True, graph.paths())) if found else ():
        reached = [
            violation._replace(moves=(*paths.to(state), *violation.moves), waits=waits)
            for state, violation in found
            if paths.far[state] >= 0 and violation.invariant not in violations
        ]
        violations |= {violation.invariant: violation for violation in _best(reached)}
    return list(violations.values())


def _best(violations: list[Violation]) -> list[Violation]:
    """Return the best violation of each invariant: without waiting, and of these the shortest."""
    best: dict[str, Violation] = {}
    for violation in violations:
        if violation.invariant not in best or violation.cost < best[violation.invariant].cost:
            best[violation.invariant] = violation
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
