"""The machines at one node of a session: the next move is made here, and judged as the search judges it.

Wherever nothing is open, or a UV_ESM alone stands between two phases, the state is saved and put back at
once, as the search does. So it makes no difference whether a node is reached by its moves or by a saved
state, and the same moves give the same frame.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from pef_explorer.actions.move import GO_ON, GUESTS, Move
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.invariants import broken
from pef_explorer.plan import Plan
from pef_explorer.search.expansion import NO_ANSWER
from pef_explorer.session.arrows import Before, Drawing
from pef_explorer.session.choices import may_be_refused, standing
from pef_explorer.session.node import NO_OUTCOME, Begun, BrokenInvariant, Made, Node, begins
from pef_explorer.world.quiescence import settle_contents
from pef_explorer.world.records import Ending, SettledState
from pef_explorer.world.step import make
from pef_explorer.world.world import World

EVERY: Final = 16
"""A state is kept where so many moves lie between it and the one that is kept before it."""
LIVENESS: Final = frozenset({"what_is_asked_succeeds"})
SUSPENDED: Final = "suspended"
Mutated = Callable[[], AbstractContextManager[None]]
"""What puts a deliberate fault into the machines, as long as they run."""


class Position:
    """A world, and the node at which it is, or None.

    A fault that is put in by `mutated` may remember what it has done, and forgets it when it is taken out. So
    with one the moves are made again from the start whenever the machines run, and no other state is kept.
    """

    def __init__(self, plan: Plan, mutated: Mutated) -> None:
        self.plan, self._mutated = plan, mutated
        self._lasts = mutated is nullcontext
        self._runs = False
        self.here: int | None = 0
        with self.running():
            self.world = World(plan)
            self.start = self.rested()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the machines run, with the fault in them; what is within another one changes nothing."""
        if self._runs:
            yield
            return
        with self._mutated():
            self._runs = True
            self.here = self.here if self._lasts else None
            try:
                yield
            finally:
                self._runs = False

    def make(self, node: Node, parent: Made) -> None:
        """Make the move of a new node, whose parent is where the world is, and judge it."""
        node.made = _Making(self, node, parent).made()
        self.here = node.n

    def go_to(self, path: list[Node]) -> None:
        """Go to the last node of a path, whose first is the start: by what is kept, and then by its moves."""
        target = path[-1].n
        if self.here != target:
            for node in path[self._nearest(path) :]:
                self._again(node)
            self.here = target

    def keep_some(self, path: list[Node]) -> None:
        """Forget the saved state of the last node of a path, unless many moves lie before it."""
        near = any(node.saved is not None for node in path[-EVERY:-1])
        if near or not self._lasts:
            path[-1].saved = None

    def _nearest(self, path: list[Node]) -> int:
        """Go to the nearest place of a path that is known, and return the place after it."""
        for place in range(len(path) - 1, -1, -1):
            node = path[place]
            if node.n != self.here and node.saved is not None:
                self._put_back(node.saved)
            if node.n == self.here or node.saved is not None:
                return place + 1
        raise AssertionError("the start is always kept")

    def _put_back(self, saved: SettledState) -> None:
        try:
            self.world.put_back(saved)
        except Exception:  # noqa: BLE001 - a machine that has raised before may be beyond repair
            self.world = World(self.plan)
            self.world.put_back(saved)

    def _again(self, node: Node) -> None:
        """Make the moves of a node once more."""
        for move in node.made.moves:
            try:
                self.world.do(move)
            except Exception:  # noqa: BLE001 - it was judged when it was made for the first time
                return
            self.rested()

    def rested(self) -> SettledState | None:
        """Save the state and put it back, where nothing is under way that can't be saved."""
        world = self.world
        if not world.quiescent:
            return None
        settle_contents(world, lenient=False)
        saved = world.saved()
        world.put_back(saved)
        return saved


class _Making:
    """One move that is being made."""

    def __init__(self, position: Position, node: Node, parent: Made) -> None:
        self.position, self.world, self.node = position, position.world, node
        move = node.move
        if move is None:
            raise AssertionError("the start is not made")
        self.move = move
        self.begun, self.actions = dict(parent.begun), parent.actions
        if begins(move):
            self.actions += 1
            self.begun[move.actor] = Begun(
                self.actions, move.action, move.gfn, may_be_refused(self.world, move)
            )
        self.drawing = Drawing(node.n, self.begun[move.actor], parent.cost)
        self.faulty = parent.faulty or move.fault is not None
        self.moves: list[Move] = []
        self.broken: dict[str, BrokenInvariant] = {}
        self.dead = False
        self.ended: Ending | None = None

    def made(self) -> Made:
        """Make it, with the phases of a UV_ESM that follow at once."""
        self._one(self.move)
        while self.node.through and self._goes_through():
            self._one(Move(self.move.actor, GO_ON))
        return Made(
            tuple(self.moves),
            self._outcome(),
            tuple(self.drawing.arrows),
            self.drawing.cost,
            tuple(self.broken.values()),
            self._begun(),
            self.actions,
            self.faulty,
            self.world.quiescent and self.world.suspended is None and not self.dead,
            self.dead,
        )

    def _goes_through(self) -> bool:
        suspended = None if self.dead else self.world.suspended
        return suspended is not None and GUESTS[suspended.vcpu] == self.move.actor

    def _one(self, move: Move) -> None:
        world = self.world
        before = Before.of(world, move.actor)
        self.drawing.before(world, move, before)
        own = self._own(move)
        self.moves.append(own)
        try:
            step = make(world, own)
            self.ended = step.ended
            found = broken(step, self._ignored(move))
        except Exception as failure:  # noqa: BLE001 - whatever a machine raises is what is judged here
            found, self.dead = [(NO_ANSWER, f"{type(failure).__name__}: {failure}")], True
        for invariant, sentence in found:
            self.broken.setdefault(invariant, BrokenInvariant(invariant, sentence))
        if not self.dead:
            self.drawing.after(world, move, before, self.ended)
            self.node.saved = self.position.rested()

    def _ignored(self, move: Move) -> frozenset[str]:
        """Return what is not judged: that an action succeeds of which nothing promises that."""
        refused = self.begun[move.actor].may_be_refused
        return self.world.plan.ignored | (LIVENESS if refused else frozenset())

    def _own(self, move: Move) -> Move:
        """Return the World's own move: it begins each phase of a UV_ESM by a move of its own."""
        if move.action != GO_ON or not standing(self.world, move.actor):
            return move
        fails = self.begun[move.actor].action == ESM_FAILS
        return Move(move.actor, ESM_FAILS if fails else UV_ESM)

    def _outcome(self) -> str:
        if self.dead:
            return NO_OUTCOME
        if self.ended is not None:
            return f"ends {self.ended.word}"
        each = self.world.open.get(self.move.actor)
        if each is not None:
            return each.call.described()
        return SUSPENDED if standing(self.world, self.move.actor) else "ends"

    def _begun(self) -> dict[str, Begun]:
        """Return what is open now: a death may have ended, or left, more than one action."""
        world = self.world
        open_now = {*world.open, *(actor for actor in self.begun if standing(world, actor))}
        begun = {actor: each for actor, each in self.begun.items() if actor in open_now}
        for actor in sorted(open_now - begun.keys()):
            move = world.open[actor].move
            begun[actor] = Begun(self.actions, move.action, move.gfn)
        return begun
