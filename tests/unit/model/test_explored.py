"""What the explorer saw at rest is told in plain numbers; each step leads from one such state to another."""

import pytest

from pef_explorer.actions.move import VM, Move
from pef_explorer.plan import Part
from pef_explorer.world.world import World
from pef_model.comparison import plan_of
from pef_model.explored import explored, rest_state
from pef_model.rest_state import NOT_OPEN, RestState
from pef_model.tables import Model
from pef_protocol.designs import Design
from pef_protocol.states import HvVmState, UvGfnState, UvVmState

NEW_VM = RestState(*[0] * 20)._replace(ultravisor=255, phase=NOT_OPEN)


def at_phase(part: Part, phases: int) -> RestState:
    """Return what a VM is at rest after so many phases of UV_ESM, with nobody else about."""
    world = World(plan_of(Model.of(Design.TRACKED, part)))
    for _ in range(phases):
        world.do(Move("guest 0", "UV_ESM", VM))
        while world.open:
            world.do(Move("guest 0", "go on"))
    return rest_state(world)


def test_a_new_vm_has_no_svm() -> None:
    assert at_phase(Part.BROUGHT, 0) == NEW_VM


def test_an_open_esm_stands_at_its_next_phase() -> None:
    state = at_phase(Part.BROUGHT, 2)
    assert (state.svm, state.phase, state.imported) == (UvVmState.ACTIVE + 1, 2, 1)
    assert (state.vm, state.registered, state.named) == (HvVmState.TRANSIENT, 1, 1)


def test_an_image_that_nobody_asks_for_has_one_phase_less() -> None:
    assert at_phase(Part.UNMIGRATED, 1).phase == at_phase(Part.SHARED, 2).phase == 2


def test_a_secure_vm_has_no_esm_open() -> None:
    state = at_phase(Part.SHARED, 5)
    assert (state.svm, state.vm, state.secure, state.phase) == (UvVmState.SECURE + 1, 2, 1, NOT_OPEN)
    assert (state.ultravisor, state.mapped, state.whole) == (UvGfnState.SHARED_IMPLICIT, 1, 1)


@pytest.mark.slow
def test_each_step_leads_from_one_state_at_rest_to_another() -> None:
    seen = explored(plan_of(Model.of(Design.TRACKED, Part.SHARED)))
    ends = {state for step in seen.steps for state in step}
    assert NEW_VM in seen.states
    assert ends == seen.states
    assert (at_phase(Part.SHARED, 4), at_phase(Part.SHARED, 5)) in seen.steps
    assert (NEW_VM, at_phase(Part.SHARED, 5)) not in seen.steps
