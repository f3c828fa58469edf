"""The exploration of designs: every plan of each on an engine, merged into a row a design.

A design is explored with each image that a slot of so many GFNs can have. The rows are the same on each
engine, for a plan is one piece of work that depends on nothing else; only the seconds differ.
"""

import pickle
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final, NamedTuple

from pef_explorer.engines import Engine
from pef_explorer.plan import IMAGES, NO_TROUBLES, Delivery, Extra, Plan, Troubles
from pef_explorer.search.search import Found, Progress, Search, Violation
from pef_lab.failures import WrongInput
from pef_protocol.designs import DesignName

REPORT_EVERY: Final = 0.5
"""Seconds between two words of a search on how far it is."""
FORM: Final = "pef-search/8"
UNREADABLE: Final = (pickle.UnpicklingError, EOFError, ImportError, AttributeError, TypeError, ValueError)
KEPT_EVERY: Final = 120.0
"""Seconds between two times that a search is written down, where it is."""


class Bounds(NamedTuple):
    """How far to go: GFNs of slot 0, of slot 1; vCPUs; calls begun together; faults; what stops a search.

    `limit`: transitions of a plan, or 0. `seconds`: of a plan, or 0: a search that is stopped by time has not
    the same counts elsewhere. `troubles`: how often the wire fails. `delivery`: what else a fault may be.
    `guest_waits`, `extras`: as `Plan` says.
    """

    slots: tuple[int, int] = (2, 1)
    vcpus: int = 1
    calls: int = 2
    faults: int = 0
    limit: int = 0
    seconds: float = 0.0
    troubles: Troubles = NO_TROUBLES
    delivery: Delivery = Delivery.ONCE
    guest_waits: bool = False
    extras: frozenset[Extra] = frozenset()


class Piece(NamedTuple):
    """One plan to search.

    `spool` is where it reports its progress, `kept` where it is written down, if at all.
    """

    number: int
    plan: Plan
    limit: int
    seconds: float
    spool: str
    kept: str


@dataclass(frozen=True, slots=True)
class Row:
    """A design as it was explored. `found`: what was found with each image."""

    design: DesignName
    found: tuple[Found, ...]
    seconds: float

    @property
    def states(self) -> int:
        """Count the states."""
        return sum(each.states for each in self.found)

    @property
    def transitions(self) -> int:
        """Count the transitions."""
        return sum(each.transitions for each in self.found)

    @property
    def complete(self) -> bool:
        """Tell whether every search came to its end."""
        return all(each.complete for each in self.found)

    @property
    def depth(self) -> int:
        """Return the moves to the farthest state, or those up to which everything was seen."""
        return max(each.depth for each in self.found) if self.complete else min(self.unfinished)

    @property
    def unfinished(self) -> list[int]:
        """Return the depth up to which each search that was cut has seen everything."""
        return [each.depth for each in self.found if not each.complete]

    @property
    def violations(self) -> list[tuple[Plan, Violation]]:
        """Return the shortest violation of each invariant, with the plan in which it came."""
        shortest: dict[str, tuple[Plan, Violation]] = {}
        for found in self.found:
            for violation in found.violations:
                known = shortest.get(violation.invariant)
                if known is None or violation.cost < known[1].cost:
                    shortest[violation.invariant] = found.plan, violation
        return sorted(shortest.values(), key=lambda each: (len(each[1].moves), each[1].invariant))


def plans_of(design: DesignName, bounds: Bounds) -> list[Plan]:
    """Return every plan of a design within the bounds; raise WrongInput where there is none."""
    pages, plug = bounds.slots
    if pages not in IMAGES or plug not in {0, 1}:
        raise WrongInput(
            f"--slots: {pages},{plug} can't be explored: 1 to {max(IMAGES)} GFNs, and 0 or 1 plugged"
        )
    if Extra.MEASURED_PLUG in bounds.extras and not plug:
        raise WrongInput(f"--with {Extra.MEASURED_PLUG}: there is no slot to plug (--slots {pages},1)")
    if Extra.RANGE in bounds.extras and pages + plug == 1:
        raise WrongInput(f"--with {Extra.RANGE}: there is one GFN only (--slots 2)")
    return [
        Plan(
            design,
            image,
            plug,
            bounds.vcpus,
            bounds.calls,
            bounds.faults,
            troubles=bounds.troubles,
            delivery=bounds.delivery,
            guest_waits=bounds.guest_waits,
            extras=bounds.extras,
        )
        for image in IMAGES[pages]
    ]


def search(piece: Piece) -> tuple[Found, float]:
    """Search one plan, as far as its bounds let it; return what was found and the seconds that it took."""
    began = time.perf_counter()
    looking, before = _taken_up(piece)
    reported = kept = began

    def stop(progress: Progress) -> bool:
        nonlocal reported, kept
        now = time.perf_counter()
        if now - reported >= REPORT_EVERY and piece.spool:
            reported = now
            (Path(piece.spool) / str(piece.number)).write_text(" ".join(map(str, progress)), encoding="ascii")
        if now - kept >= KEPT_EVERY and piece.kept:
            kept = now
            _write_down(piece, looking, before + now - began)
        return bool(
            (piece.limit and progress.transitions >= piece.limit)
            or (piece.seconds and now - began >= piece.seconds)
        )

    looking.go_on(stop)
    seconds = before + time.perf_counter() - began
    if piece.kept:
        _write_down(piece, looking, seconds)
    return looking.found(), seconds


def _taken_up(piece: Piece) -> tuple[Search, float]:
    """Return the search as it was written down, and the seconds that it took so far, or a new one."""
    if piece.kept and Path(piece.kept).exists():
        try:
            form, looking, seconds = pickle.loads(Path(piece.kept).read_bytes())  # noqa: S301 - our own file
        except UNREADABLE as fault:
            raise WrongInput(f"--state: {piece.kept} is not of this version: {fault}") from None
        if form != FORM or not isinstance(looking, Search):
            raise WrongInput(f"--state: {piece.kept} is not of this version: no search")
        if looking.plan != piece.plan:
            raise WrongInput(f"--state: {piece.kept} is of another plan")
        return looking, seconds
    return Search(piece.plan), 0.0


def _write_down(piece: Piece, looking: Search, seconds: float) -> None:
    """Write a search down, whole or not at all."""
    half = Path(f"{piece.kept}.new")
    half.write_bytes(pickle.dumps((FORM, looking, seconds)))
    half.replace(piece.kept)


def explore(
    engine: Engine,
    designs: Sequence[DesignName],
    bounds: Bounds,
    report_progress: Callable[[Plan, Progress], None],
    state: Path | None,
) -> Iterator[Row]:
    """Explore designs, and yield a row each as soon as it is done."""
    plans = [plan for design in designs for plan in plans_of(design, bounds)]
    with tempfile.TemporaryDirectory(prefix="pef-explore-") as spool:
        pieces = [
            Piece(number, plan, bounds.limit, bounds.seconds, spool, _kept(state, number, plan))
            for number, plan in enumerate(plans)
        ]
        with _reporting(Path(spool), plans, report_progress):
            done: Iterable[tuple[Found, float]] = engine.map(search, pieces)
            collected: list[tuple[Found, float]] = []
            for found, seconds in done:
                collected.append((found, seconds))
                if len(collected) == len(plans_of(found.plan.design, bounds)):
                    yield Row(
                        found.plan.design,
                        tuple(each for each, _ in collected),
                        sum(each for _, each in collected),
                    )
                    collected = []


def _kept(state: Path | None, number: int, plan: Plan) -> str:
    parts = "-".join(part.value.replace(" ", "-") for part in plan.image)
    return str(state / f"{number}-{plan.design}-{parts}.search") if state else ""


@contextmanager
def _reporting(
    spool: Path, plans: list[Plan], report_progress: Callable[[Plan, Progress], None]
) -> Iterator[None]:
    """Report, from time to time, how far the searches of this machine are."""
    over = Event()

    def listen() -> None:
        while not over.wait(REPORT_EVERY):
            for file in spool.iterdir():
                words = file.read_text(encoding="ascii").split()
                if len(words) == len(Progress._fields):
                    report_progress(plans[int(file.name)], Progress(*map(int, words)))

    listener = Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        over.set()
        listener.join()


def file_of(directory: Path, plan: Plan, violation: Violation, mutant: str | None = None) -> Path:
    """Return where the counterexample of a violation goes."""
    return directory / f"{mutant or plan.design}-{violation.invariant.replace('_', '-')}.json"
