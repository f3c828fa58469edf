"""The two tables of a VM, laid side by side from outside.

`pef_lab.agreement` has the states that agree. While no call is open, no GFN is in a transient state or in
flight.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pef_lab.agreement import agreeing_names
from pef_lab.sizes import counted
from pef_lab.watch import SlotStates
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState

NO_SVM: Final = "no SVM object"
NO_SLOT: Final = "no slot"


@dataclass(frozen=True, slots=True)
class JointRun:
    """A run of GFNs with what each side says of it."""

    first: int
    count: int
    hypervisor: str
    ultravisor: str

    def __str__(self) -> str:
        where = f"{counted(self.count, 'GFN')} from {self.first:#x}"
        return f"{where}: Hypervisor {self.hypervisor}, Ultravisor {self.ultravisor}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two tables of one VM as joint runs, those on which they disagree, and GFNs in flight."""

    runs: tuple[JointRun, ...]
    disagreements: tuple[JointRun, ...]
    moving: int

    @property
    def agree(self) -> bool:
        """Tell whether the tables say the same of every GFN and nothing is in flight."""
        return not self.disagreements and not self.moving

    def beyond(self, known: Iterable[JointRun]) -> "Comparison":
        """Return this comparison without the disagreements that `known` has already, GFN by GFN."""
        fresh = [run for one in self.disagreements for run in _without(one, known)]
        return Comparison(self.runs, tuple(fresh), self.moving)

    def __str__(self) -> str:
        if self.agree:
            return f"they agree on all {sum(run.count for run in self.runs):,} GFNs"
        flying = f"; {counted(self.moving, 'GFN')} in flight" if self.moving else ""
        if not self.disagreements:
            return f"they agree{flying}"
        pages = sum(run.count for run in self.disagreements)
        widest = max(self.disagreements, key=lambda run: run.count)
        return f"they disagree on {counted(pages, 'GFN')}, such as {widest}{flying}"


def compare(
    hypervisor: Sequence[SlotStates], ultravisor: Sequence[SlotStates] | None, design: DesignName
) -> Comparison:
    """Lay two tables side by side; `ultravisor` is None where the VM has no SVM object."""
    absent = NO_SVM if ultravisor is None else NO_SLOT
    agreeing = agreeing_names(design) | {(HvGfnState.NORMAL.name, NO_SVM)}
    runs = tuple(_together(_flat(hypervisor), _flat(ultravisor or ()), absent))
    moving = sum(slot.moving for slot in (*hypervisor, *(ultravisor or ())))
    disagreements = (run for run in runs if (run.hypervisor, run.ultravisor) not in agreeing)
    return Comparison(runs, tuple(disagreements), moving)


def _without(run: JointRun, known: Iterable[JointRun]) -> Iterator[JointRun]:
    """Yield what is left of `run` where no run of `known` says the same."""
    first, end = run.first, run.first + run.count
    for other in sorted(known, key=lambda each: each.first):
        same = (other.hypervisor, other.ultravisor) == (run.hypervisor, run.ultravisor)
        if not same or other.first + other.count <= first or other.first >= end:
            continue
        if other.first > first:
            yield JointRun(first, other.first - first, run.hypervisor, run.ultravisor)
        first = min(end, other.first + other.count)
    if first < end:
        yield JointRun(first, end - first, run.hypervisor, run.ultravisor)


def _flat(slots: Iterable[SlotStates]) -> list[tuple[int, int, str]]:
    return sorted((first, first + count, state) for slot in slots for first, count, state in slot.states)


def _together(
    own: list[tuple[int, int, str]], theirs: list[tuple[int, int, str]], absent: str
) -> Iterator[JointRun]:
    """Cut both tables at every edge of either; a GFN that neither holds is in no run."""
    edges = sorted({edge for first, end, _ in (*own, *theirs) for edge in (first, end)})
    left, right = _Reader(own), _Reader(theirs)
    open_run: JointRun | None = None
    for first, end in pairwise(edges):
        one, other = left.at(first), right.at(first)
        if one is None and other is None:
            continue
        run = JointRun(first, end - first, one or NO_SLOT, other or absent)
        if open_run and _continues(open_run, run):
            open_run = JointRun(open_run.first, open_run.count + run.count, run.hypervisor, run.ultravisor)
            continue
        if open_run:
            yield open_run
        open_run = run
    if open_run:
        yield open_run


def _continues(one: JointRun, other: JointRun) -> bool:
    same = (one.hypervisor, one.ultravisor) == (other.hypervisor, other.ultravisor)
    return same and one.first + one.count == other.first


class _Reader:
    """Reads a sorted table at ascending GFNs."""

    def __init__(self, rows: list[tuple[int, int, str]]) -> None:
        self._rows = rows
        self._place = 0

    def at(self, gfn: int) -> str | None:
        while self._place < len(self._rows) and self._rows[self._place][1] <= gfn:
            self._place += 1
        if self._place == len(self._rows):
            return None
        first, _, state = self._rows[self._place]
        return state if first <= gfn else None
