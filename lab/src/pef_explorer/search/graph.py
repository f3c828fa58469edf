"""The graph of everything that was seen: states by digest, and which move leads from which to which.

It is numbers only, so that millions of edges fit. How to get anywhere is found out once, at the end: by the
shortest way, whatever the order in which states were found.
"""

import hashlib
import heapq
import marshal
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from pef_explorer.actions.move import Move

DIGEST_BYTES: Final = 16
BROKEN: Final = 0
"""The number of the state in which something broke: nothing leads on from there."""


class Breach(NamedTuple):
    """An invariant that was violated: the state before, the move, and what was seen."""

    state: int
    moves: tuple[Move, ...]
    invariant: str
    sentence: str


def digest_of(key: Any) -> bytes:
    """Return the digest of a state's key: plain numbers, bytes, strings and tuples."""
    return hashlib.blake2b(marshal.dumps(key, 2), digest_size=DIGEST_BYTES).digest()


class Graph:
    """States are numbered from 1 in the order in which they were found."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}
        self._from, self._to, self._by = array("I"), array("I"), array("I")
        self._moves: dict[tuple[Move, ...], int] = {}
        self._spelled: list[tuple[Move, ...]] = []
        self.settled: set[int] = set()
        self.waits: set[int] = set()
        """States in which a call waits, or a UV_ESM between two phases: over HTTP nobody can make it wait."""
        self.breaches: list[Breach] = []
        self.nearest: dict[tuple[str, bool], int] = {}
        """How far the nearest breach of each invariant is, where nobody waits and where somebody does."""

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def edges(self) -> int:
        """Count the edges."""
        return len(self._from)

    def number(self, key: Any) -> tuple[int, bool]:
        """Return the number of a state, and whether it is new."""
        digest = digest_of(key)
        known = self.numbers.get(digest)
        if known is not None:
            return known, False
        self.numbers[digest] = number = len(self.numbers) + 1
        return number, True

    def join(self, before: int, after: int, moves: tuple[Move, ...]) -> None:
        """Note that `moves` lead from one state to another."""
        by = self._moves.get(moves)
        if by is None:
            by = self._moves[moves] = len(self._spelled)
            self._spelled.append(moves)
        self._from.append(before)
        self._to.append(after)
        self._by.append(by)

    def add_breach(self, far: int, breach: Breach) -> None:
        """Note a breach that was found `far` moves from the beginning, if none is known that is nearer."""
        kind = breach.invariant, breach.state in self.waits
        nearest = self.nearest.get(kind)
        if nearest is None or far <= nearest:
            self.nearest[kind] = far
            self.breaches.append(breach)

    def ended(self, state: int, move: Move) -> None:
        """Note that a move leads to where no machine goes on from."""
        self.join(state, BROKEN, (move,))

    def columns(self) -> tuple[Any, Any, Any]:
        """Return all edges: from, to, and the length of each (int64)."""
        lengths = np.array([len(moves) for moves in self._spelled], np.int64)
        by = np.frombuffer(self._by, np.uint32).astype(np.int64)
        return (
            np.frombuffer(self._from, np.uint32).astype(np.int64),
            np.frombuffer(self._to, np.uint32).astype(np.int64),
            lengths[by] if len(by) else by,
        )

    def paths(self, *, with_waits: bool = True) -> "ShortestPaths":
        """Find the shortest path from state 1 to every state; `with_waits`: also through states that wait."""
        return ShortestPaths(self, frozenset() if with_waits else frozenset(self.waits))

    def spelled(self, edge: int) -> tuple[Move, ...]:
        """Return the moves of an edge."""
        return self._spelled[self._by[edge]]

    def ends(self, edge: int) -> tuple[int, int]:
        """Return the two states that an edge joins."""
        return self._from[edge], self._to[edge]

    def without_end(self, unfinished: Iterable[int] = ()) -> Iterator[int]:
        """Yield the states from which no quiescent state and no breach can be reached.

        Of `unfinished` states not every move was made: nobody knows yet what they lead to.
        """
        begin, end, _ = self.columns()
        ended = np.zeros(len(self) + 1, np.bool_)
        ended[[BROKEN, *self.settled, *unfinished]] = True
        while True:
            more = begin[ended[end] & ~ended[begin]]
            if not len(more):
                break
            ended[more] = True
        yield from np.flatnonzero(~ended).tolist()


class ShortestPaths:
    """The shortest paths from state 1 that lead through no shunned state: `far[state]` moves, or -1."""

    def __init__(self, graph: Graph, shunned: frozenset[int] = frozenset()) -> None:
        self._graph = graph
        begin, end, length = graph.columns()
        order = np.argsort(begin, kind="stable")
        starts = np.searchsorted(begin[order], np.arange(len(graph) + 2))
        edges, ends, lengths = order.tolist(), end[order].tolist(), length[order].tolist()
        self.far = [-1] * (len(graph) + 1)
        self._came = [-1] * (len(graph) + 1)
        heap = [(0, 1, -1)]
        while heap:
            far, state, edge = heapq.heappop(heap)
            if self.far[state] >= 0 or state == BROKEN:
                continue
            self.far[state], self._came[state] = far, edge
            for at in range(int(starts[state]), int(starts[state + 1])):
                if self.far[ends[at]] < 0 and ends[at] not in shunned:
                    heapq.heappush(heap, (far + lengths[at], ends[at], edges[at]))

    def to(self, state: int) -> tuple[Move, ...]:
        """Return the moves of the shortest path to a state."""
        parts: list[tuple[Move, ...]] = []
        while self._came[state] >= 0:
            edge = self._came[state]
            parts.append(self._graph.spelled(edge))
            state, _ = self._graph.ends(edge)
        return tuple(move for part in reversed(parts) for move in part)
