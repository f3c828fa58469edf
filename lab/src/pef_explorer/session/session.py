"""A session: a tree of moves over the unreduced small system of one plan, and a cursor in it.

The tree is never cut. Going back, and on from there by another move, makes a branch; what is there already
is gone to, not made again. All that is shown comes from the machines of both services, which run in this
process; what is judged, from the explorer's invariants.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final, Literal, Self, TypeAlias

from pef_explorer.actions.move import GO_ON, VM, Move
from pef_explorer.machines.open_call import Pending
from pef_explorer.plan import Plan
from pef_explorer.session.choices import standing
from pef_explorer.session.errors import NotPossible, SessionFull
from pef_explorer.session.export import content_of
from pef_explorer.session.files import goes_through, move_of, plan_of
from pef_explorer.session.frame import Frame
from pef_explorer.session.node import label_of
from pef_explorer.session.picture import frame_of
from pef_explorer.session.position import Mutated
from pef_explorer.session.showing import page_of
from pef_explorer.session.tree import Rule, Tree, running
from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import Counterexample
from pef_protocol.designs import DesignName

Until: TypeAlias = Literal["quiescent", "end", "violation"]
LIMIT: Final = 1000
MOST_GOING_ON: Final = 200
"""Moves by which open calls are let end at once: calls may wait for what nobody does."""


class Session(Tree):
    """A tree of moves, with a frame of each node; see `Tree` for what it is made of."""

    def __init__(
        self,
        plan: Plan,
        *,
        limit: int = LIMIT,
        allowed: Rule | None = None,
        mutated: Mutated = nullcontext,
        mutant: str | None = None,
    ) -> None:
        super().__init__(plan, limit=limit, allowed=allowed, mutated=mutated, mutant=mutant)

    # Sessions of what was made before

    @classmethod
    def of_file(cls, found: Counterexample, *, limit: int = LIMIT, mutated: Mutated | None = None) -> Self:
        """Return a session with the steps of a file as its nodes 1, 2 and so on; the cursor is at the start.

        A file of a mutant needs `mutated`, which puts it in: without it, `stopped` says so. It also says at
        which step the machines do not do what the file says.
        """
        session = cls(plan_of(found), limit=limit, mutated=mutated or nullcontext, mutant=found.mutant)
        if found.mutant is not None and mutated is None:
            needed = f"the deliberate fault {found.mutant} in the machines, which is not put in"
            session.stopped = f"The file needs {needed}."
            return session
        session.make_steps(found)
        return session

    @running
    def make_steps(self, found: Counterexample) -> None:
        """Make the steps of a file from the start, and go back to it; `stopped` says what came otherwise."""
        for number, step in enumerate(found.steps, 1):
            where = f"step {number} ({step})"
            try:
                self.step(move_of(step), through=goes_through(step), listed=False)
            except (NotPossible, SessionFull) as reason:
                self.stopped = f"Stopped before {where}: {reason}"
                break
            outcome = self.nodes[self.at].outcome
            if outcome != step.leads_to:
                self.stopped = f"At {where} the file says {step.leads_to!r}, and here it is {outcome!r}."
                break
        self.put_cursor(0)

    def copy(self, *, at: int | None = None, design: DesignName | None = None) -> "Session":
        """Return a session with the path to a node, made once more on the same design or another one.

        Its cursor is at the last move that could be made. Where that is not all, `stopped` says why.
        """
        node = self.node(self.at if at is None else at)
        plan = self.plan if design is None else replace(self.plan, design=design)
        own = {"limit": self.limit, "allowed": self.allowed, "mutated": self.mutated, "mutant": self.mutant}
        copied = Session(plan, **own)  # type: ignore[arg-type]
        copied.lesson = self.lesson
        copied.make_again([(each.move, each.through) for each in self.path_to(node) if each.move])
        return copied

    @running
    def make_again(self, moves: list[tuple[Move, bool]]) -> None:
        """Make moves, and whether phases follow at once; `stopped` says where and why they ended."""
        for number, (move, through) in enumerate(moves, 1):
            try:
                self.step(move, through=through, listed=False)
            except (NotPossible, SessionFull) as reason:
                where = f"move {number} of {len(moves)} ({label_of(move)})"
                self.stopped = f"Stopped before {where}: {reason}"
                return

    @running
    def make_tree(self, moves: Iterable[tuple[int, Move, bool]], at: int) -> None:
        """Make the moves that led to the nodes 1, 2 and so on: (parent, move, whether phases follow at once).

        Raise WrongInput, with the node, for a move that can't be made.
        """
        for number, (parent, move, through) in enumerate(moves, len(self.nodes)):
            try:
                self.put_cursor(self.node(parent).n)
                self.step(move, through=through, listed=False)
            except (NotPossible, SessionFull) as reason:
                raise WrongInput(f"node {number}: {reason}") from None
            if self.at != number:
                raise WrongInput(f"node {number}: it is node {self.at} once more")
        try:
            self.put_cursor(self.node(at).n)
        except NotPossible as reason:
            raise WrongInput(f"at: {reason}") from None

    # Moves

    @running
    def move(self, move: Move) -> Frame:
        """Make a move and go where it leads; raise NotPossible, with nothing changed, where that can't be."""
        self.step(move)
        return self.frame()

    def goto(self, node: int) -> Frame:
        """Go to a node."""
        self.put_cursor(self.node(node).n)
        return self.frame()

    def back(self) -> Frame:
        """Go to the node before."""
        parent = self.nodes[self.at].parent
        if parent is None:
            raise NotPossible("This is the start.")
        return self.goto(parent)

    def forward(self) -> Frame:
        """Go to the child at which the cursor was last, or the first one."""
        child = self.next_of(self.nodes[self.at])
        if child is None:
            raise NotPossible("No move was made from here.")
        return self.goto(child)

    @running
    def run(self, until: Until) -> Frame:
        """Go on: to where nothing is open, to the last move that was made, or to one that breaks something.

        Moves that were made are gone along. "quiescent" lets open calls go on where there is none.
        """
        if until == "quiescent":
            self._run_until_quiescent()
            return self.frame()
        at, made = self.nodes[self.at], 0
        while (child := self.next_of(at)) is not None:
            at, made = self.nodes[child], made + 1
            if until == "violation" and at.made.broken:
                return self.goto(at.n)
        if until == "violation":
            raise NotPossible("No move that was made from here on breaks an invariant.")
        if not made:
            raise NotPossible("No move was made from here.")
        return self.goto(at.n)

    def _run_until_quiescent(self) -> None:
        for made in range(MOST_GOING_ON):
            node = self.nodes[self.at]
            if made and (node.made.quiescent or node.made.dead):
                return
            child = self.next_of(node)
            move = self._goes_on(made) if child is None else None
            if child is not None:
                self.put_cursor(child)
            elif move is not None:
                self.step(move)
            elif made:
                return
            else:
                raise NotPossible("Nothing is open that could go on.")

    def _goes_on(self, turn: int) -> Move | None:
        """Return how an open call goes on; the calls take turns where all of them wait."""
        node, world = self.here()
        begun = node.made.begun
        if node.made.dead or not begun:
            return None
        actors = sorted(begun, key=lambda actor: begun[actor].number)
        waiting = {actor for actor, each in world.open.items() if each.call.pending is Pending.PAUSE}
        busy = [each for each in actors if each not in waiting or standing(world, each)]
        return Move(busy[0] if busy else actors[turn % len(actors)], GO_ON, VM)

    # What is to be seen

    @running
    def frame(self) -> Frame:
        """Return what is to be seen at the cursor."""
        node, world = self.here()
        return frame_of(self, node, self.path(), world, self.choices())

    @running
    def page(self, gfn: int) -> tuple[bytes | None, bytes | None]:
        """Return the first 16 bytes of a page: as the guest would find them, and as normal memory has them.

        None where the guest would find nothing, or no slot holds the GFN. Nothing is changed by it.
        """
        if gfn not in range(self.plan.pages):
            raise NotPossible(f"The system has no GFN {gfn}.")
        return page_of(self.here()[1], gfn)

    @running
    def counterexample(self, *, command: str = "a session of pef step", commit: str = "") -> dict[str, Any]:
        """Return the path to the cursor as the content of a counterexample file, which `pef replay` plays.

        Raise NotPossible where nothing was done, or where the format has no words for a move.
        """
        return content_of(self.plan, self.path(), mutant=self.mutant, command=command, commit=commit)
