"""The tree of a session: its nodes, the cursor, and the machines, which are wherever they are needed."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from pef_explorer.actions.move import Move
from pef_explorer.plan import Plan
from pef_explorer.session.choices import Choice, choices_of, why_not, why_not_made
from pef_explorer.session.errors import NotPossible, SessionFull
from pef_explorer.session.node import Made, Node
from pef_explorer.session.position import Mutated, Position
from pef_explorer.world.world import World

Rule: TypeAlias = Callable[[Move], str]
"""Says why a move is not allowed, or nothing."""
P = ParamSpec("P")
R = TypeVar("R")
TreeT = TypeVar("TreeT", bound="Tree")


def running(method: Callable[Concatenate[TreeT, P], R]) -> Callable[Concatenate[TreeT, P], R]:
    """Have the machines run while a method does."""

    @wraps(method)
    def run(self: TreeT, /, *args: P.args, **named: P.kwargs) -> R:
        with self.position.running():
            return method(self, *args, **named)

    return run


def allow_all(_: Move) -> str:
    """Allow every move."""
    return ""


class Tree:
    """A tree of moves, and the node `at` which the cursor is; `nodes[0]` is the start.

    `limit`: moves that it may have. `allowed`: a rule that says why a move is not allowed, or nothing.
    `mutated`: puts a deliberate fault into the machines while they run; `mutant` is its name. `stopped` says
    where and why moves that were to be made again ended, or nothing. `lesson` is the one that it is for.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        limit: int,
        allowed: Rule | None = None,
        mutated: Mutated = nullcontext,
        mutant: str | None = None,
    ) -> None:
        self.plan, self.limit, self.allowed = plan, limit, allowed or allow_all
        self.mutated, self.mutant = mutated, mutant
        self.at = 0
        self.stopped = ""
        self.lesson: str | None = None
        self.position = Position(plan, mutated)
        self.nodes = [Node(0, None, None, saved=self.position.start, made=Made())]

    # Moves

    @running
    def choices(self) -> list[Choice]:
        """Return every action of every actor; those that can be made come first."""
        node, world = self.here()
        return [] if node.made.dead else choices_of(world, node.made.begun, self.allowed)

    @running
    def step(self, move: Move, *, through: bool = False, listed: bool = True) -> None:
        """Make a move, or go where it was made already; raise NotPossible, or SessionFull.

        `through`: the phases of a UV_ESM follow at once. One that is not `listed` is made though it can only
        be refused, as files have some.
        """
        node, world = self.here()
        child = next((each for each in node.children if self.nodes[each].move == move), None)
        if child is not None and not self.allowed(move):
            self.put_cursor(child)
            return
        judge = why_not if listed else why_not_made
        reason = "a machine has given no answer here: go back"
        if not node.made.dead:
            reason = self.allowed(move) or judge(world, node.made.begun, move)
        if reason:
            raise NotPossible(f"{reason[:1].upper()}{reason[1:]}.")
        if len(self.nodes) > self.limit:
            raise SessionFull(self.limit)
        made = Node(len(self.nodes), node.n, move, through)
        self.position.make(made, node.made)
        node.children.append(made.n)
        self.nodes.append(made)
        self.position.keep_some(self.path_to(made))
        self.put_cursor(made.n)

    # The cursor

    def here(self) -> tuple[Node, World]:
        """Return the node of the cursor, and the machines there."""
        node = self.nodes[self.at]
        self.position.go_to(self.path_to(node))
        return node, self.position.world

    def put_cursor(self, n: int) -> None:
        """Put the cursor at a node; going forward leads here again from each node on the way."""
        self.at = n
        node = self.nodes[n]
        while node.parent is not None:
            self.nodes[node.parent].last = node.n
            node = self.nodes[node.parent]

    def node(self, n: int) -> Node:
        """Return a node; raise NotPossible where it is not there."""
        if not 0 <= n < len(self.nodes):
            raise NotPossible(f"There is no node {n}.")
        return self.nodes[n]

    def next_of(self, node: Node) -> int | None:
        """Return the child at which the cursor was last, or the first one, or None."""
        return node.last if node.last is not None else next(iter(node.children), None)

    def path_to(self, node: Node) -> list[Node]:
        """Return the nodes from the start to a node."""
        path = [node]
        while node.parent is not None:
            node = self.nodes[node.parent]
            path.append(node)
        return path[::-1]

    def path(self) -> list[Node]:
        """Return the nodes from the start to the cursor."""
        return self.path_to(self.nodes[self.at])

    def path_moves(self) -> list[Move]:
        """Return the moves from the start to the cursor."""
        return [node.move for node in self.path() if node.move is not None]

    def own_moves(self) -> tuple[Move, ...]:
        """Return the World's own moves from the start to the cursor: each phase of a UV_ESM is one."""
        return tuple(move for node in self.path() for move in node.made.moves)
