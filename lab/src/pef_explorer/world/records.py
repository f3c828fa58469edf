"""What the exploration keeps of a world: quiescent states, open calls, and how actions end."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from pef_explorer.actions.action import Action, Kept
from pef_explorer.actions.move import Move
from pef_explorer.actions.oracle import Memory
from pef_explorer.machines.open_call import OpenCall
from pef_explorer.machines.system import Snapshot
from pef_explorer.plan import Troubles
from pef_explorer.world.network import Copy


class SettledState(NamedTuple):
    """A quiescent state, or one with a suspended UV_ESM, as a plain value.

    `faults` and `troubles` are those that may yet happen.
    """

    snapshot: Snapshot
    memory: Memory
    faults: int
    troubles: Troubles
    copies: tuple[Copy, ...]
    used_ivs: frozenset[tuple[int, bytes]] = frozenset()
    """The IVs with which pages were sealed on the way here, and of which SVM the key was (its number)."""
    kept: Kept | None = None


@dataclass(slots=True)
class Open:
    """An action under way; `alone` until another one is open at the same time.

    `values`: what it may write, and what those may write that were open meanwhile. `before`: what each page
    might hold before it began.
    """

    move: Move
    call: OpenCall
    footprint: frozenset[int]
    values: frozenset[bytes]
    before: tuple[frozenset[bytes], ...]
    alone: bool
    action: Action | None
    token: bytes = b""
    """What it stores itself."""
    unanswered: bool = False
    """Nobody hears how it ends."""
    disclosed: bool = False
    """The page that it stores to was shared meanwhile."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what makes this call differ from others at its place."""
        mine = self.move.action, self.move.gfn, self.alone, len(self.values)
        return *mine, self.token[:1], self.disclosed, self.call.pending.value, self.call.trail


class Ending(NamedTuple):
    """How an action ended; `alone`: no other was open meanwhile. `check` refused it, if one did."""

    move: Move
    word: str
    alone: bool
    detail: str
    check: str = ""
