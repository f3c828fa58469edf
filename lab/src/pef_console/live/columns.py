"""The states of all GFNs of a VM at both sides: numpy columns, and what they come to.

The slots of a VM are laid one after another, in ascending order: a *position* counts the GFNs of all slots. A
column has an octet per position: the number of the state, or `NOTHING` where that side has none.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pef_lab.agreement import TRANSIENT_STATES, agreeing_states
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState, UvGfnState

Octets: TypeAlias = NDArray[np.uint8]
Positions: TypeAlias = NDArray[np.int64]

NOTHING: Final = 0xFF
"""The octet of a GFN of which a side has no state."""
AGREES, IN_FLIGHT, DIFFERS = 0, 1, 2
JOINT: Final = {AGREES: "agrees", IN_FLIGHT: "in flight", DIFFERS: "differs"}
OCTETS: Final = 256


@dataclass(frozen=True, slots=True)
class Extent:
    """A memory slot: its first GFN, and how many it has."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class StateRun:
    """GFNs that follow each other and look alike from both sides; states as octets."""

    first: int
    count: int
    hypervisor: int
    ultravisor: int
    joint: int


@dataclass(frozen=True, slots=True)
class Columns:
    """Both sides' states of all GFNs of a VM (uint8, an element per position), and where its slots lie.

    `settled`: no call is open, and both sides call the VM secure, or the Ultravisor has none of it. Only then
    two states that don't agree *differ*; else they are in flight.
    """

    extents: tuple[Extent, ...]
    hypervisor: Octets
    ultravisor: Octets
    design: DesignName
    settled: bool

    @property
    def gfns(self) -> int:
        """Return how many GFNs all slots have."""
        return len(self.hypervisor)

    def joint(self) -> Octets:
        """Return how the two sides' states of each GFN compare (uint8, an element per position)."""
        pairs = self.hypervisor.astype(np.uint16) << 8 | self.ultravisor
        found: Octets = _comparison(self.design)[pairs]
        if not self.settled:
            found[found == DIFFERS] = IN_FLIGHT
        return found

    def runs(self, most: int, marked: Collection[int] = ()) -> tuple[list[StateRun], int]:
        """Return runs of GFNs of one slot that look alike, in ascending order, and how many are left out.

        At most `most` of them: those that hold a GFN of `marked`, then those that differ or are in flight,
        then the shortest.
        """
        firsts, counts, at = self._run_table()
        joint = self.joint()[at]
        named = np.zeros(len(firsts), bool)
        for gfn in marked:
            place = int(np.searchsorted(firsts, gfn, side="right")) - 1
            named[place] |= place >= 0 and gfn < firsts[place] + counts[place]
        order = np.lexsort((counts, -joint.astype(np.int64), ~named))
        chosen = np.sort(order[:most])
        columns = (firsts, counts, self.hypervisor[at], self.ultravisor[at], joint)
        rows = zip(*(column[chosen].tolist() for column in columns), strict=True)
        return [StateRun(*row) for row in rows], max(0, len(firsts) - most)

    def _run_table(self) -> tuple[Positions, Positions, Positions]:
        """Return first GFN, number of GFNs, and position of each run."""
        if not self.gfns:
            none = np.zeros(0, np.int64)
            return none, none, none
        edges = (self.hypervisor[1:] != self.hypervisor[:-1]) | (self.ultravisor[1:] != self.ultravisor[:-1])
        slots = np.array([extent.count for extent in self.extents], np.int64)
        starts = np.cumsum(slots) - slots
        at = np.union1d(np.flatnonzero(edges) + 1, starts).astype(np.int64)
        counts = np.diff(np.append(at, self.gfns))
        place = np.searchsorted(starts, at, side="right") - 1
        base = np.array([extent.first for extent in self.extents], np.int64) - starts
        return at + base[place], counts, at

    def gfn_at(self, position: int) -> int:
        """Return the GFN at a position."""
        for extent in self.extents:
            if position < extent.count:
                return extent.first + position
            position -= extent.count
        raise IndexError(position)

    def position(self, gfn: int) -> int | None:
        """Return the position of a GFN; None where it lies in no slot."""
        start = 0
        for extent in self.extents:
            if extent.first <= gfn < extent.first + extent.count:
                return start + gfn - extent.first
            start += extent.count
        return None

    def at(self, gfn: int) -> tuple[int, int]:
        """Return both sides' octets of a GFN; `NOTHING` where it lies in no slot."""
        place = self.position(gfn)
        if place is None:
            return NOTHING, NOTHING
        return int(self.hypervisor[place]), int(self.ultravisor[place])

    def cells(self, number: int) -> bytes:
        """Return the map of the VM in `number` cells, or in one per GFN where it has fewer.

        Three rows of octets, one per cell: the Hypervisor's states, the Ultravisor's, and how they compare. A
        cell shows the state that is rarest in the whole VM of those in it, so that few odd pages of many are
        seen; of the comparison it shows the worst.
        """
        if not self.gfns:
            return b""
        cells = min(number, self.gfns)
        starts = np.arange(cells, dtype=np.int64) * self.gfns // cells
        rows = (rarest(self.hypervisor, starts), rarest(self.ultravisor, starts))
        return b"".join(row.tobytes() for row in (*rows, np.maximum.reduceat(self.joint(), starts)))


def rarest(column: Octets, starts: Positions) -> Octets:
    """Return, for each cell that begins at `starts`, the octet of those in it that `column` has fewest of."""
    by_number = np.argsort(np.bincount(column, minlength=OCTETS), kind="stable").astype(np.uint8)
    rank = np.empty(OCTETS, np.uint8)
    rank[by_number] = np.arange(OCTETS, dtype=np.uint8)
    lowest: Octets = np.minimum.reduceat(rank[column], starts)
    return by_number[lowest]


def name_of(states: type[HvGfnState] | type[UvGfnState], octet: int) -> str:
    """Return the name of a state; `nothing` where there is none."""
    return "nothing" if octet == NOTHING else states(octet).name


def extents_of(slots: Iterable[tuple[int, int]]) -> tuple[Extent, ...]:
    """Return the union of ranges (first GFN, count) as extents that neither overlap nor abut."""
    found: list[Extent] = []
    for first, count in sorted(slots):
        last = found[-1] if found else None
        if last is not None and first <= last.first + last.count:
            found[-1] = Extent(last.first, max(last.count, first + count - last.first))
        else:
            found.append(Extent(first, count))
    return tuple(found)


@cache
def _comparison(design: DesignName) -> Octets:
    """Return how each pair of octets compares (uint8, at 256 * the Hypervisor's + the Ultravisor's)."""
    found = np.full((OCTETS, OCTETS), DIFFERS, np.uint8)
    for state in TRANSIENT_STATES:
        found[:, state] = IN_FLIGHT
    for own, states in agreeing_states(design).items():
        for theirs in states:
            found[own, theirs] = AGREES
    found[HvGfnState.NORMAL, NOTHING] = found[NOTHING, NOTHING] = AGREES
    return found.reshape(-1)
