"""The GFNs of a step and their states."""

from pef_explorer.invariants.transition_tables import (
    STATES,
)
from pef_explorer.world.step import Step
from pef_protocol.states import UvGfnState as S


def gfns(step: Step) -> range:
    """Return the GFNs of both slots."""
    return range(step.world.plan.pages)


def state(column: bytes, gfn: int) -> S | None:
    """Return the Ultravisor's state of a GFN in a column, or None."""
    return STATES[column[gfn]]
