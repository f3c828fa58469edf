"""Which counterexamples services with a real image can play."""

from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import BETWEEN_PHASES, TWO_GFNS, Counterexample


def fits(found: Counterexample) -> None:
    """Raise WrongInput where services with a real image can't play `found`."""
    if found.mutant is not None:
        raise WrongInput(f"it needs the deliberate fault {found.mutant}, which the services do not have")
    if found.system.measured_plug:
        raise WrongInput("a part of its image lies in the slot to be plugged: a real image lies in one slot")
    if any(step.action in TWO_GFNS for step in found.steps):
        raise WrongInput("two GFNs are shared by one call in it: a real image has them not side by side")
    if any(step.leads_to == BETWEEN_PHASES for step in found.steps):
        raise WrongInput("somebody acts between two phases of a UV_ESM in it: over HTTP none waits there")
    for role in ("brought", "shared"):
        if found.system.image.count(role) > 1:
            raise WrongInput(f"a real image has one page to play a GFN that is {role!r}, not more")
