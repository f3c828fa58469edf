"""Counterexample files as sessions: the system of a file, and its steps as moves."""

from typing import Final

from pef_explorer.actions.move import VM, Move
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import NO_TROUBLES, Delivery, Extra, Part, Plan, Troubles
from pef_lab.replay.counterexample import (
    BETWEEN_PHASES,
    OF_CIPHERTEXT,
    TWO_GFNS,
    Counterexample,
    ScheduleStep,
)
from pef_protocol.designs import DesignName

WITHOUT_END: Final = 1 << 20
"""Calls that may be open at once, and messages that may go wrong: more than a session has moves."""


def plan_of_session(
    design: DesignName,
    image: tuple[Part, ...],
    plug: int = 1,
    vcpus: int = 1,
    extras: frozenset[Extra] = frozenset(),
    troubles: Troubles = NO_TROUBLES,
) -> Plan:
    """Return a small system in which any number of calls may be open, and any message may go wrong."""
    return Plan(
        design,
        image,
        plug,
        vcpus,
        calls=WITHOUT_END,
        faults=WITHOUT_END,
        delivery=Delivery.UNRELIABLE,
        extras=extras,
        troubles=troubles,
    )


def plan_of(found: Counterexample) -> Plan:
    """Return the system of a file, with what its steps need switched on."""
    actions = {step.action for step in found.steps}
    extras = {Extra.MEASURED_PLUG} if found.system.measured_plug else set()
    extras |= {Extra.RANGE} if actions & TWO_GFNS else set()
    extras |= {Extra.OLD_CIPHERTEXT} if actions & OF_CIPHERTEXT else set()
    image = tuple(Part(part) for part in found.system.image)
    return plan_of_session(found.design, image, found.system.plug, found.system.vcpus, frozenset(extras))


def move_of(step: ScheduleStep) -> Move:
    """Return a step of a file as a move."""
    gfn = VM if step.gfn is None else step.gfn
    return Move(step.actor, step.action, gfn, Fault(step.fault) if step.fault else None)


def goes_through(step: ScheduleStep) -> bool:
    """Tell whether the phases of a UV_ESM follow each other at once in a step."""
    return step.leads_to != BETWEEN_PHASES
