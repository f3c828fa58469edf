"""The course of one run: its rounds, what is probed after each, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from pef_explorer.simulation.events import ROUNDS, Event, Seed
from pef_explorer.simulation.judge import Broken
from pef_explorer.simulation.probes import probe_all
from pef_explorer.simulation.run import Run


@dataclass(frozen=True, slots=True)
class Failure:
    """An invariant that was violated: its name, a sentence, and the round and time in which it was."""

    invariant: str
    sentence: str
    round: int
    at: int


@dataclass(frozen=True, slots=True)
class Course:
    """How a run went: events judged, actions done, faults that befell something, and the failure or None."""

    events: int
    actions: int
    faults: int
    failure: Failure | None


def course_of(seed: Seed, events: Sequence[Event]) -> Course:
    """Let all events of a seed happen and return how the run went."""
    run = Run(seed, events)
    failure = None
    try:
        run.start()
        for round_ in range(ROUNDS):
            run.play(round_)
            probe_all(run, last=round_ == ROUNDS - 1)
    except Broken as broken:
        failure = Failure(broken.invariant, broken.sentence, run.round, run.now)
    except Exception as crash:  # noqa: BLE001 - whatever an operation raises is a finding
        failure = Failure("no_operation_crashes", f"{type(crash).__name__}: {crash}", run.round, run.now)
    finally:
        run.close()
    return Course(run.count, run.actions, run.faults, failure)
