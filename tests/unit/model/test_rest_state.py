"""A state at rest is told by what is not 0 in it."""

from pef_model.rest_state import NOT_OPEN, RestState


def test_a_state_is_told_by_what_is_not_0() -> None:
    state = RestState(*[0] * 20)._replace(vm=2, phase=NOT_OPEN)
    assert str(state) == "vm 2, phase 9"
