"""An expansion: everything that can happen from one quiescent state until nothing is open again.

Operations can't be copied, so a state in the middle is reached by making its moves again. One run makes them
once and then goes on through moves that nobody made yet. Where none is left, it goes on by moves that were
made before to the nearest state that has one. So a run is spent on many edges of the graph rather than on
one. A state that was met in an earlier expansion is not gone on from again.

| scope | what may begin |
|---|---|
| a GFN | actions on that GFN alone |
| a GFN and `AND_RESET` | a reset and an action on that GFN, which a reset deals with as with any other |
| `PLUG` | actions on slot 1, and plugging |
| `WHOLE` | whatever has a part in which the whole VM, or two GFNs, are dealt with, but for what is above |

Where the wire fails as well, there is one scope, and everything may begin.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pef_explorer.actions.move import GO_ON, GUESTS, VM, Move
from pef_explorer.actions.table import PAGE_OUT, PAIR
from pef_explorer.invariants import broken
from pef_explorer.machines.open_call import Pending
from pef_explorer.plan import NO_TROUBLES
from pef_explorer.search.graph import Breach, Graph
from pef_explorer.world.possible_moves import possible_moves
from pef_explorer.world.quiescence import rest
from pef_explorer.world.records import SettledState
from pef_explorer.world.step import make
from pef_explorer.world.world import World

WHOLE: Final = -2
PLUG: Final = -1
AND_RESET: Final = 100
"""Added to a GFN. What a reset does to the other GFNs does not depend on the one, nor the other way."""
RESETS: Final = frozenset({"reset", "reboot"})
NO_ANSWER: Final = "the_code_answers"
"""21. No machine ever raises what is not an answer."""


@dataclass(slots=True, eq=False)
class StateNode:
    """A state of this expansion. `came`: the last node and the move.

    `leads_to`: for each of its moves that was made, the number of the node to which it led, or 0 where a run
    ends. `exhausted`: no move is left, neither here nor at any node that can be reached from here.
    """

    number: int
    moves: list[Move]
    depth: int
    came: "tuple[StateNode, Move] | None"
    whole: bool
    leads_to: list[int] = field(default_factory=list)
    exhausted: bool = False

    @property
    def finished(self) -> bool:
        """Tell whether every move of it was made."""
        return len(self.leads_to) == len(self.moves)


class Expansion:
    """The exploration of one expansion, noted in `graph`.

    `found`: the new quiescent states, with their numbers and distances in moves. A scope that is not
    whole ends where nothing is open any more: what it leads to depends on the GFNs that it leaves out.
    """

    def __init__(self, world: World, settled: SettledState, scope: int, graph: Graph) -> None:
        self.world, self.settled, self.scope, self.graph = world, settled, scope, graph
        self.found: list[tuple[int, int, SettledState]] = []
        self._nodes: dict[int, StateNode] = {}
        self._frontier: list[tuple[int, int, StateNode]] = []
        self._whole_set = frozenset({VM, *range(world.plan.pages)})
        self._plug_set = frozenset({VM, *world.plan.plugged})
        self.transitions = 0
        self.runs = 0
        self._far = 0
        self._at: StateNode | None = None
        """Where a run was stopped, which is gone on with first."""

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be written down: all but the world, which `go_on` is given again."""
        return {name: part for name, part in self.__dict__.items() if name != "world"}

    def explore(self, number: int, far: int) -> None:
        """Make every move of the expansion once, from state `number`, `far` moves from the beginning."""
        self.begin(number, far)
        self.go_on(self.world, lambda: False)

    def begin(self, number: int, far: int) -> None:
        """Begin at state `number`, `far` moves from the beginning."""
        self._far = far
        self.world.put_back(self.settled)
        self._wait(StateNode(number, self._allowed(whole=False), 0, None, whole=False))

    def go_on(self, world: World, stop: Callable[[], bool]) -> bool:
        """Make moves until every one was made, or `stop` says so; return whether every one was."""
        self.world = world
        while node := self._at or self._nearest():
            self._at = node
            if stop() or not self._run(node, stop):
                return False
            self._at = None
        return True

    def _nearest(self) -> StateNode | None:
        """Return the nearest node of which not every move was made, or None."""
        while self._frontier and self._frontier[0][2].finished:
            heapq.heappop(self._frontier)
        return self._frontier[0][2] if self._frontier else None

    @property
    def unfinished(self) -> list[int]:
        """Return the states of which not every move was made."""
        return [node.number for _, _, node in self._frontier if not node.finished]

    def _wait(self, node: StateNode) -> None:
        self._nodes[node.number] = node
        heapq.heappush(self._frontier, (node.depth, node.number, node))

    def _run(self, node: StateNode, stop: Callable[[], bool]) -> bool:
        """Go to a state by its moves, and on from there; return whether nothing stopped it."""
        self.runs += 1
        self.world.put_back(self.settled)
        for move in _path(node):
            self.world.do(move)
        at: StateNode | None = node
        while at is not None:
            at = self._walk(at) if at.finished else self._edge(at)
            if at is not None and stop():
                self._at = at
                return False
        return True

    def _walk(self, node: StateNode) -> StateNode | None:
        """Go on, by moves that were made before, to the nearest node that has a move left, if any has."""
        came: dict[int, tuple[StateNode, Move] | None] = {node.number: None}
        queue = deque([node])
        while queue:
            at = queue.popleft()
            if not at.finished:
                for move in _way(came, at):
                    self.world.do(move)
                return at
            for move, number in zip(at.moves, at.leads_to, strict=True):
                if number and number not in came and not self._nodes[number].exhausted:
                    came[number] = at, move
                    queue.append(self._nodes[number])
        for number in came:
            self._nodes[number].exhausted = True
        return None

    def _edge(self, node: StateNode) -> StateNode | None:
        """Make the next move of a node; return where it leads, or None where the run ends."""
        move = node.moves[len(node.leads_to)]
        node.leads_to.append(0)
        self.transitions += 1
        try:
            step = make(self.world, move)
        except Exception as failure:  # noqa: BLE001 - whatever a machine raises is what we look for
            self._add_breach(node, move, NO_ANSWER, f"{type(failure).__name__}: {failure}")
            self.graph.ended(node.number, move)
            return None
        for invariant, sentence in broken(step, self.world.plan.ignored):
            self._add_breach(node, move, invariant, sentence)
        if step.quiescent:
            self._ended(node, move)
            return None
        return self._child(node, move)

    def _add_breach(self, node: StateNode, move: Move, invariant: str, sentence: str) -> None:
        self.graph.add_breach(self._far + node.depth + 1, Breach(node.number, (move,), invariant, sentence))

    def _child(self, node: StateNode, move: Move) -> StateNode | None:
        whole = node.whole or self._is_whole(move)
        number, new = self.graph.number((self.world.key(), whole, self.scope))
        self.graph.join(node.number, number, (move,))
        if new:
            waits = any(each.call.pending is Pending.PAUSE for each in self.world.open.values())
            if waits or self.world.esm_stands:
                self.graph.waits.add(number)
            self._wait(StateNode(number, self._allowed(whole=whole), node.depth + 1, (node, move), whole))
        child = self._nodes.get(number)
        if child is not None:
            node.leads_to[-1] = number
        return child

    def _is_whole(self, move: Move) -> bool:
        each = self.world.open.get(move.actor)
        begun = move.action != GO_ON and each is not None
        return begun and each is not None and (self._spans(each.footprint) or each.action is None)

    def _spans(self, footprint: frozenset[int]) -> bool:
        """Tell whether a footprint is the whole VM, or several GFNs."""
        return footprint == self._whole_set or (VM not in footprint and len(footprint) > 1)

    def _allowed(self, *, whole: bool) -> list[Move]:
        """Return the moves of this state that belong to the scope."""
        free = self.world.suspended is not None or self.world.plan.troubles != NO_TROUBLES
        opened = len(self.world.open)
        return [
            move
            for move, footprint in possible_moves(self.world)
            if free or move.action == GO_ON or self._belongs(move, footprint, opened, whole=whole)
        ]

    def _belongs(self, move: Move, footprint: frozenset[int], opened: int, *, whole: bool) -> bool:
        if self.scope == PLUG:
            return footprint <= self._plug_set
        reset, single = move.action in RESETS, len(footprint) == 1 and VM not in footprint
        if self.scope >= AND_RESET:
            mine = footprint == {self.scope - AND_RESET}
            return (reset or mine) if not opened else (mine if whole else reset)
        if self.scope >= 0:
            return footprint == {self.scope}
        if not opened:
            return not single or self._may_meet(move)
        begun = next(iter(self.world.open.values())).move.action
        if whole:
            return not (single and begun in RESETS)
        return self._spans(footprint) and not reset

    def _may_meet(self, move: Move) -> bool:
        """Tell whether an action on one GFN can meet one on the whole VM that is not a reset: a vCPU's."""
        plan = self.world.plan
        duplicate = plan.calls <= PAIR and move.action == PAGE_OUT
        return not duplicate and (plan.vcpus > 1 or move.actor not in GUESTS)

    def _ended(self, node: StateNode, move: Move) -> None:
        """Note a quiescent state; what its pages hold is certain by now, and none is left blank."""
        before, new = self.graph.number(("end", self.world.key()))
        if new and self.scope != WHOLE:
            self.graph.settled.add(before)
        elif new:
            made = rest(self.world)
            number, unknown = self.graph.number(("settled", self.world.key()))
            self.graph.join(before, number, made)
            if unknown:
                self.graph.settled.add(number)
                self.found.append((node.depth + 1 + len(made), number, self.world.saved()))
        self.graph.join(node.number, before, (move,))


def _path(node: StateNode) -> list[Move]:
    moves: list[Move] = []
    while node.came is not None:
        node, move = node.came
        moves.append(move)
    return moves[::-1]


def _way(came: dict[int, tuple[StateNode, Move] | None], node: StateNode) -> list[Move]:
    moves: list[Move] = []
    while step := came[node.number]:
        node, move = step
        moves.append(move)
    return moves[::-1]
