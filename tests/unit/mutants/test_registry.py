"""Each mutant does what its sentence says, where the sound code does not."""

import pytest

from pef_mutants.registry import MUTANTS
from pef_protocol.events import Side
from unit.mutants import hv_fixtures, uv_fixtures

pytestmark = pytest.mark.verify

FIXTURES = {**uv_fixtures.FIXTURES, **hv_fixtures.FIXTURES}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_seen_where_the_sound_code_is_not_and_goes_again(name: str) -> None:
    fixture, sound, faulty = FIXTURES[name]
    assert fixture() == sound
    with MUTANTS[name].applied():
        assert [fixture(), fixture()] == [faulty] * 2
    assert fixture() == sound


def test_each_mutant_has_a_fixture_and_is_of_the_side_that_its_letter_names() -> None:
    sides = {"D": Side.ULTRAVISOR, "K": Side.HYPERVISOR}
    assert {name: mutant.side for name, mutant in MUTANTS.items()} == {
        name: sides[name[0]] for name in FIXTURES
    }
