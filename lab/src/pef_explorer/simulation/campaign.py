"""A campaign: many seeds on an engine, merged into one report that is the same whatever ran it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Final

from pef_explorer.engines import Engine
from pef_explorer.simulation.course import Failure, course_of
from pef_explorer.simulation.events import Event, Seed, drawn
from pef_explorer.simulation.shrinking import shrunk
from pef_protocol.designs import DesignName

FORMAT: Final = "pef-simulation-report/1"


@dataclass(frozen=True, slots=True)
class SeedReport:
    """How one seed went."""

    seed: int
    events: int
    actions: int
    faults: int
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A run that failed, as the few events that are needed, and how these break the same invariant."""

    seed: Seed
    kept: tuple[Event, ...]
    failure: Failure


@dataclass(frozen=True, slots=True)
class Report:
    """How a campaign went. Of the seeds that break the same invariant the first is `shrunk`."""

    design: DesignName
    first: int
    steps: int
    seeds: tuple[SeedReport, ...]
    shrunk: tuple[Shrunk, ...]

    @property
    def failed(self) -> tuple[SeedReport, ...]:
        """Return the seeds that broke something."""
        return tuple(each for each in self.seeds if each.failure)

    def counted(self, what: str) -> int:
        """Return the sum of `events`, `actions` or `faults` over all seeds."""
        return sum(getattr(each, what) for each in self.seeds)

    def as_json(self, commit: str) -> dict[str, Any]:
        """Return the report as a JSON object."""
        totals = {what: self.counted(what) for what in ("events", "actions", "faults")}
        return {
            "format": FORMAT,
            "commit": commit,
            "design": self.design,
            "first": self.first,
            "steps": self.steps,
            "seeds": len(self.seeds),
            **totals,
            "failures": [
                {"seed": each.seed, **asdict(each.failure)} for each in self.seeds if each.failure is not None
            ],
        }


def simulate_seed(seed: Seed) -> SeedReport:
    """Run one seed."""
    course = course_of(seed, drawn(seed))
    return SeedReport(seed.number, course.events, course.actions, course.faults, course.failure)


def shrink_seed(failed: tuple[Seed, Failure]) -> Shrunk:
    """Shrink a seed that failed."""
    seed, failure = failed
    kept, now = shrunk(seed, drawn(seed), failure)
    return Shrunk(seed, tuple(kept), now)


def campaign(
    engine: Engine,
    design: DesignName,
    seeds: range,
    steps: int,
    report_progress: Callable[[str], None] = lambda stage: None,
) -> Report:
    """Run all `seeds` with `steps` actions each; `report_progress` is called after each piece."""
    every = [Seed(number, design, steps) for number in seeds]
    reports: list[SeedReport] = []
    for report in engine.map(simulate_seed, every):
        reports.append(report)
        report_progress(f"seed {report.seed}")
    failed = [(each.failure.invariant, each.seed, each.failure) for each in reports if each.failure]
    firsts = [
        next(group) for _, group in groupby(sorted(failed, key=lambda each: each[:2]), lambda each: each[0])
    ]
    found: list[Shrunk] = []
    for each in engine.map(
        shrink_seed, [(Seed(number, design, steps), failure) for _, number, failure in firsts]
    ):
        found.append(each)
        report_progress(f"seed {each.seed.number} shrunk")
    return Report(design, seeds.start, steps, tuple(reports), tuple(found))
