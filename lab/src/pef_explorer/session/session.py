"""A session: a tree of moves over the unreduced small system of one plan, and a cursor in it.

The tree is never cut. Going back, and on from there by another move, makes a branch; what is there already
is gone to, not made again. All that is shown comes from the machines of both services, which run in this
process; what is judged, from the explorer's invariants.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final, Literal, Self, TypeAlias

from pef_explorer.actions.move import GO_ON, VM, Move
from pef_explorer.machines.open_call import Pending
from pef_explorer.plan import Plan
from pef_explorer.session.choices import Choice, choices_of, standing, why_not, why_not_made
from pef_explorer.session.errors import NotPossible, SessionFull
from pef_explorer.session.export import content_of
from pef_explorer.session.files import goes_through, move_of, plan_of
from pef_explorer.session.frame import Frame
from pef_explorer.session.node import Node
from pef_explorer.session.picture import frame_of
from pef_explorer.session.position import Mutated, Position, keep_some
from pef_explorer.session.showing import page_of
from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import Counterexample
from pef_protocol.designs import DesignName

Until: TypeAlias = Literal["quiescent", "end", "violation"]
Rule: TypeAlias = Callable[[Move], str]
LIMIT: Final = 1000
MOST_GOING_ON: Final = 200
"""Moves by which open calls are let end at once: calls may wait for what nobody does."""


def allow_all(_: Move) -> str:
    """Allow every move."""
    return ""


class Session:
    """A tree of moves, and the node `at` which the cursor is; `nodes[0]` is the start.

    `limit`: moves that it may have. `allowed`: a rule that says why a move is not allowed, or nothing.
    `mutated`: puts a deliberate fault into the machines while they run; `mutant` is its name. `stopped` says
    where and why moves that were to be made again ended, or nothing.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        limit: int = LIMIT,
        allowed: Rule | None = None,
        mutated: Mutated = nullcontext,
        mutant: str | None = None,
    ) -> None:
        self.plan, self.limit, self.allowed = plan, limit, allowed or allow_all
        self.mutated, self.mutant = mutated, mutant
        self.at = 0
        self.stopped = ""
        self.lesson: str | None = None
        self._position = Position(plan, mutated)
        self.nodes = [Node(0, None, None, saved=self._position.start, made=self._position.begin())]

    @classmethod
    def of_file(cls, found: Counterexample, *, limit: int = LIMIT, mutated: Mutated | None = None) -> Self:
        """Return a session with the steps of a file as its nodes 1, 2 and so on; the cursor is at the start.

        A file of a mutant needs `mutated`, which puts it in: without it, `stopped` says so. It also says at
        which step the machines do not do what the file says.
        """
        session = cls(plan_of(found), limit=limit, mutated=mutated or nullcontext, mutant=found.mutant)
        if found.mutant is not None and mutated is None:
            session.stopped = (
                f"The file needs the deliberate fault {found.mutant} in the machines, which is not put in."
            )
            return session
        for number, step in enumerate(found.steps, 1):
            where = f"step {number} ({step})"
            try:
                session._step(move_of(step), through=goes_through(step), listed=False)
            except (NotPossible, SessionFull) as reason:
                session.stopped = f"Stopped before {where}: {reason}"
                break
            outcome = session.nodes[session.at].outcome
            if outcome != step.leads_to:
                session.stopped = f"At {where} the file says {step.leads_to!r}, and here it {outcome!r}."
                break
        session.goto(0)
        return session

    def copy(self, *, at: int | None = None, design: DesignName | None = None) -> "Session":
        """Return a session with the path to a node, made once more on the same design or another one.

        Its cursor is at the last move that could be made. Where that is not all, `stopped` says why.
        """
        node = self._node(self.at if at is None else at)
        plan = self.plan if design is None else replace(self.plan, design=design)
        copied = Session(
            plan, limit=self.limit, allowed=self.allowed, mutated=self.mutated, mutant=self.mutant
        )
        copied.lesson = self.lesson
        path = self._path(node)[1:]
        for number, each in enumerate(path, 1):
            if each.move is None:
                continue
            try:
                copied._step(each.move, through=each.through, listed=False)
            except (NotPossible, SessionFull) as reason:
                copied.stopped = f"Stopped before move {number} of {len(path)} ({each.label}): {reason}"
                break
        return copied

    # Moves

    def choices(self) -> list[Choice]:
        """Return every action of every actor; those that can be made come first."""
        node = self._here()
        if node.made.dead:
            return []
        return choices_of(self._position.world, node.made.begun, self.allowed)

    def move(self, move: Move) -> Frame:
        """Make a move and go where it leads; raise NotPossible, with nothing changed, where that can't be."""
        self._step(move)
        return self.frame()

    def make_tree(self, moves: Iterable[tuple[int, Move, bool]], at: int) -> None:
        """Make the moves that led to the nodes 1, 2 and so on: (parent, move, whether phases follow at once).

        Raise WrongInput, with the node, for a move that can't be made.
        """
        for number, (parent, move, through) in enumerate(moves, len(self.nodes)):
            try:
                self._go(self._node(parent).n)
                self._step(move, through=through, listed=False)
            except (NotPossible, SessionFull) as reason:
                raise WrongInput(f"node {number}: {reason}") from None
            if self.at != number:
                raise WrongInput(f"node {number}: it is node {self.at} once more")
        try:
            self._go(self._node(at).n)
        except NotPossible as reason:
            raise WrongInput(f"at: {reason}") from None

    def _step(self, move: Move, *, through: bool = False, listed: bool = True) -> None:
        """Make a move; one that is not `listed` is made though it will be refused, as files have some."""
        node = self._here()
        child = next((each for each in node.children if self.nodes[each].move == move), None)
        if child is not None:
            if reason := self.allowed(move):
                raise NotPossible(_sentence(reason))
            self._go(child)
            return
        if reason := self._why_not(node, move, listed=listed):
            raise NotPossible(_sentence(reason))
        if len(self.nodes) > self.limit:
            raise SessionFull(self.limit)
        made = Node(len(self.nodes), node.n, move, through)
        self._position.make(made, node.made)
        node.children.append(made.n)
        self.nodes.append(made)
        keep_some(self._path(made))
        self._go(made.n)

    def _why_not(self, node: Node, move: Move, *, listed: bool) -> str:
        if node.made.dead:
            return "a machine has given no answer here: go back"
        judge = why_not if listed else why_not_made
        return judge(self._position.world, node.made.begun, move) or self.allowed(move)

    def goto(self, node: int) -> Frame:
        """Go to a node."""
        self._go(self._node(node).n)
        return self.frame()

    def back(self) -> Frame:
        """Go to the node before."""
        parent = self.nodes[self.at].parent
        if parent is None:
            raise NotPossible("This is the start.")
        return self.goto(parent)

    def forward(self) -> Frame:
        """Go to the child at which the cursor was last, or the first one."""
        child = self._child(self.nodes[self.at])
        if child is None:
            raise NotPossible("No move was made from here.")
        return self.goto(child)

    def run(self, until: Until) -> Frame:
        """Go on: to where nothing is open, to the last move that was made, or to one that breaks something.

        Moves that were made are gone along. "quiescent" lets open calls go on where there is none.
        """
        if until == "quiescent":
            self._run_until_quiescent()
            return self.frame()
        at, way = self.nodes[self.at], list[Node]()
        while (child := self._child(at)) is not None:
            at = self.nodes[child]
            way.append(at)
            if until == "violation" and at.made.broken:
                return self.goto(at.n)
        if until == "violation":
            raise NotPossible("No move that was made from here on breaks an invariant.")
        if not way:
            raise NotPossible("No move was made from here.")
        return self.goto(at.n)

    def _run_until_quiescent(self) -> None:
        for made in range(MOST_GOING_ON):
            node = self.nodes[self.at]
            if made and (node.made.quiescent or node.made.dead):
                return
            child = self._child(node)
            if child is not None:
                self._go(child)
                continue
            move = self._goes_on(made)
            if move is None:
                if made:
                    return
                raise NotPossible("Nothing is open that could go on.")
            self._step(move)

    def _goes_on(self, turn: int) -> Move | None:
        """Return how an open call goes on; the calls take turns, those that wait last."""
        world = self._position.world if not self._here().made.dead else None
        begun = self.nodes[self.at].made.begun
        if world is None or not begun:
            return None
        actors = sorted(begun, key=lambda actor: begun[actor].number)
        busy = [each for each in actors if standing(world, each) or not _waits(world.open[each].call)]
        return Move((busy or actors)[0 if busy else turn % len(actors)], GO_ON, VM)

    # What is to be seen

    def frame(self) -> Frame:
        """Return what is to be seen at the cursor."""
        node = self._here()
        return frame_of(self, node, self._path(node), self._position.world, self.choices())

    def page(self, gfn: int) -> tuple[bytes | None, bytes | None]:
        """Return the first 16 bytes of a page: as the guest would find them, and as normal memory has them.

        None where the guest would find nothing, or no slot holds the GFN. Nothing is changed by it.
        """
        if gfn not in range(self.plan.pages):
            raise NotPossible(f"The system has no GFN {gfn}.")
        self._here()
        return page_of(self._position.world, gfn)

    def path_moves(self) -> list[Move]:
        """Return the moves from the start to the cursor."""
        return [node.move for node in self._path(self.nodes[self.at]) if node.move is not None]

    def path(self) -> list[Node]:
        """Return the nodes from the start to the cursor."""
        return self._path(self.nodes[self.at])

    def counterexample(self, *, command: str = "a session of pef step", commit: str = "") -> dict[str, Any]:
        """Return the path to the cursor as the content of a counterexample file, which `pef replay` plays.

        Raise NotPossible where nothing was done, or where the format has no words for a move.
        """
        with self.mutated():
            return content_of(self.plan, self.path(), mutant=self.mutant, command=command, commit=commit)

    # The tree

    def _node(self, n: int) -> Node:
        if not 0 <= n < len(self.nodes):
            raise NotPossible(f"There is no node {n}.")
        return self.nodes[n]

    def _here(self) -> Node:
        """Return the node of the cursor, once the machines are there."""
        node = self.nodes[self.at]
        self._position.go_to(self._path(node))
        return node

    def _go(self, n: int) -> None:
        self.at = n
        node = self.nodes[n]
        while node.parent is not None:
            self.nodes[node.parent].last = node.n
            node = self.nodes[node.parent]

    def _child(self, node: Node) -> int | None:
        return node.last if node.last is not None else next(iter(node.children), None)

    def _path(self, node: Node) -> list[Node]:
        path = [node]
        while node.parent is not None:
            node = self.nodes[node.parent]
            path.append(node)
        return path[::-1]


def _waits(call: object) -> bool:
    return getattr(call, "pending", None) is Pending.PAUSE


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:] + "."
