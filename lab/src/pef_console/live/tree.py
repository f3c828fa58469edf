"""The moves of a live session as a tree. It only grows: a node is what was seen once."""

from dataclasses import dataclass, field
from typing import Final

from pef_console.stage import Move, NotPossible

MOST_MOVES: Final = 1000


@dataclass(slots=True)
class MoveNode:
    """A move that was made, and what it led to in the words of a counterexample file."""

    n: int
    parent: int | None
    move: Move | None
    outcome: str
    label: str
    viewed: tuple[int, ...] = ()
    """The GFNs that were looked at between the parent and this move: that may change a VM."""
    children: list[int] = field(default_factory=list)


class MoveTree:
    """All nodes of a session; node 0 is the start, `at` the cursor. It has at most `limit` moves."""

    def __init__(self, limit: int = MOST_MOVES) -> None:
        self.nodes = [MoveNode(0, None, None, "", "start")]
        self.at = 0
        self.viewed: list[int] = []
        """The GFNs that were looked at since the last move."""
        self._limit = limit
        self._visited: dict[int, int] = {}
        """The child that was visited last, of each node that has one."""

    @property
    def node(self) -> MoveNode:
        """Return the node at the cursor."""
        return self.nodes[self.at]

    def require_room(self) -> None:
        """Raise NotPossible where no further move may be made."""
        if len(self.nodes) > self._limit:
            raise NotPossible(f"a session has at most {self._limit} moves: open another one")

    def take(self, move: Move, outcome: str, label: str) -> None:
        """Set the cursor on the child that a move led to: the one that is known, or a new one."""
        made = (move, outcome, tuple(self.viewed))
        known = (self.nodes[n] for n in self.node.children)
        child = next((each for each in known if (each.move, each.outcome, each.viewed) == made), None)
        if child is None:
            child = MoveNode(len(self.nodes), self.at, move, outcome, label, made[2])
            self.nodes.append(child)
            self.node.children.append(child.n)
        self._visited[self.at] = child.n
        self.at = child.n
        self.viewed.clear()

    def start(self) -> None:
        """Set the cursor on the start."""
        self.at = 0
        self.viewed.clear()

    def path(self, node: int | None = None) -> list[MoveNode]:
        """Return the nodes from the start to `node`, else to the cursor; raise NotPossible for none."""
        if node is not None and not 0 <= node < len(self.nodes):
            raise NotPossible(f"there is no node {node}")
        at: int | None = self.at if node is None else node
        found = []
        while at is not None:
            found.append(self.nodes[at])
            at = self.nodes[at].parent
        return found[::-1]

    def next_child(self) -> MoveNode:
        """Return the child that was visited last, or the first one; raise NotPossible where there is none."""
        if not self.node.children:
            raise NotPossible("nothing was done after this")
        return self.nodes[self._visited.get(self.at, self.node.children[0])]

    def forward_path(self) -> list[MoveNode]:
        """Return the nodes from the cursor's next child on; raise NotPossible where there is none."""
        found = [self.next_child()]
        while (children := found[-1].children) and len(found) < len(self.nodes):
            found.append(self.nodes[self._visited.get(found[-1].n, children[0])])
        return found
