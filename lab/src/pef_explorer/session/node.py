"""What is kept of one move of a session: where it led, and what was seen on the way."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pef_explorer.actions.move import GO_ON, VM, Move
from pef_explorer.session.frame import Arrow
from pef_explorer.world.records import SettledState

NO_OUTCOME: Final = "no answer"
"""The outcome of a move at which a machine raised what is no answer."""


class BrokenInvariant(NamedTuple):
    """An invariant that a move broke."""

    invariant: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What was sent from the start on: calls, the GFNs that they name, and bytes over the memory bus."""

    ultracalls: int = 0
    hypercalls: int = 0
    gfns: int = 0
    bytes: int = 0

    def plus(self, *, ultracalls: int = 0, hypercalls: int = 0, gfns: int = 0, moved: int = 0) -> "Cost":
        """Return this cost and some more."""
        return Cost(
            self.ultracalls + ultracalls,
            self.hypercalls + hypercalls,
            self.gfns + gfns,
            self.bytes + moved,
        )


class Begun(NamedTuple):
    """An action that has begun and not ended: which one of the path it is, from 1, and what it is.

    `may_be_refused`: nothing promises that it succeeds.
    """

    number: int
    action: str
    gfn: int
    may_be_refused: bool = False


@dataclass(slots=True)
class Made:
    """What is known once a move was made, beside what the machines can show: the same on every path here.

    `moves`: those of the World. `begun`: the open action of each actor. `actions`: how many have begun so
    far. `dead`: a machine raised what is no answer, so nothing follows.
    """

    moves: tuple[Move, ...] = ()
    outcome: str = ""
    arrows: tuple[Arrow, ...] = ()
    cost: Cost = field(default_factory=Cost)
    broken: tuple[BrokenInvariant, ...] = ()
    begun: dict[str, Begun] = field(default_factory=dict)
    actions: int = 0
    faulty: bool = False
    quiescent: bool = True
    dead: bool = False


@dataclass(slots=True)
class Node:
    """A node of the tree. `move`: the one that led here from `parent`; the start has neither.

    `through`: the phases of a UV_ESM followed each other at once, as in a file. `saved`: the state here, if
    it was kept. `last`: the child at which the cursor was last.
    """

    n: int
    parent: int | None
    move: Move | None
    through: bool = False
    children: list[int] = field(default_factory=list)
    made: Made = field(default_factory=Made)
    saved: SettledState | None = None
    last: int | None = None

    @property
    def outcome(self) -> str:
        """Return what the move led to, in the words of a counterexample file."""
        return self.made.outcome

    @property
    def label(self) -> str:
        """Return the move in words."""
        return "start" if self.move is None else label_of(self.move)


def label_of(move: Move) -> str:
    """Return a move in words: who does what to which GFN."""
    where = "" if move.gfn == VM else f" {move.gfn}"
    fault = f" ({move.fault})" if move.fault else ""
    return f"{move.actor}: {move.action}{where}{fault}"


def begins(move: Move) -> bool:
    """Tell whether a move begins an action."""
    return move.action != GO_ON
