"""Counterexample files made again in one process: their steps as the explorer's own moves.

A file tells the phases of a UV_ESM as one action; the explorer begins each by a move of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pef_explorer.actions.move import GO_ON, GUESTS, VM, Move
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.machines.faults import Fault
from pef_explorer.machines.small_esm import measured
from pef_explorer.plan import Extra, Part, Plan
from pef_explorer.search.counterexample import Recording, tables_of
from pef_explorer.world.world import World
from pef_lab.replay.counterexample import BETWEEN_PHASES, Counterexample, ScheduleStep


def plan_of(found: Counterexample) -> Plan:
    """Return the system of a file, as it is explored; as many faults and calls as its steps have."""
    faults = sum(step.fault is not None for step in found.steps)
    calls = len({step.actor for step in found.steps})
    image = tuple(Part(part) for part in found.system.image)
    return Plan(
        found.design,
        image,
        found.system.plug,
        found.system.vcpus,
        max(calls, 2),
        faults,
        extras=frozenset({Extra.MEASURED_PLUG}) if found.system.measured_plug else frozenset(),
    )


@dataclass
class Replayed:
    """A file made again. `leads_to`: what each step led to; `tables`: both sides' at the violation."""

    moves: list[Move] = field(default_factory=list)
    leads_to: list[str] = field(default_factory=list)
    tables: dict[str, list[str]] = field(default_factory=dict)
    broken_by: int = 0
    """Moves up to the violation."""


def replayed(found: Counterexample) -> Replayed:
    """Make the steps of a file again, on the code as it is in this process."""
    recording, again = Recording(World(plan_of(found))), Replayed()
    bad = frozenset(step.actor for step in found.steps if step.action == ESM_FAILS)
    for number, step in enumerate(found.steps, start=1):
        action = UV_ESM if step.action == ESM_FAILS or _is_next_phase(recording, step) else step.action
        gfn = VM if step.gfn is None else step.gfn
        begun = Move(step.actor, action, gfn, Fault(step.fault) if step.fault else None)
        for move in [begun] if step.leads_to == BETWEEN_PHASES else _moves(recording, begun, bad):
            again.moves.append(move)
            recording.make(move)
        if number == found.violated_after:
            again.broken_by, again.tables = len(again.moves), tables_of(recording.world)
    again.leads_to = [str(step["leads_to"]) for step in recording.steps]
    return again


def _is_next_phase(recording: Recording, step: ScheduleStep) -> bool:
    """Tell whether a UV_ESM goes on with its next phase, after somebody has acted between the two."""
    return step.action == GO_ON and recording.world.suspended is not None


def _moves(recording: Recording, move: Move, bad: frozenset[str]) -> Iterator[Move]:
    """Yield a move, and then the phases that a UV_ESM which stands alone begins by itself."""
    yield move
    world: Any = recording.world
    while world.suspended is not None and move.actor == (vcpu := GUESTS[world.suspended.vcpu]):
        fails = vcpu in bad and world.system.entering.steps[world.suspended.place] is measured
        yield Move(vcpu, ESM_FAILS if fails else UV_ESM)
