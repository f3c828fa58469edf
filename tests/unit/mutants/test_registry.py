"""Each mutant does what its sentence says, where the sound code does not; and it is taken out again."""

from contextlib import ExitStack

import pytest

from pef_hypervisor.designs import DESIGNS
from pef_mutants.exchange import modules_of_ours
from pef_mutants.mutant import Applied
from pef_mutants.registry import MUTANTS
from pef_protocol.events import Side
from pef_ultravisor.gfn.table import GFN
from unit.mutants import hv_fixtures, uv_fixtures

pytestmark = pytest.mark.verify

FIXTURES = {**uv_fixtures.FIXTURES, **hv_fixtures.FIXTURES}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_seen_where_the_sound_code_is_not_and_goes_again(name: str) -> None:
    fixture, sound, faulty = FIXTURES[name]
    assert fixture() == sound
    with MUTANTS[name].applied():
        assert fixture() == faulty
    assert fixture() == sound


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_shows_itself_alike_each_time(name: str) -> None:
    fixture, _, faulty = FIXTURES[name]
    with MUTANTS[name].applied():
        assert [fixture(), fixture()] == [faulty] * 2


@pytest.mark.parametrize(
    "applied",
    [way for mutant in MUTANTS.values() for way in (mutant.applied, mutant.triggered)],
    ids=[f"{mutant.id}-{way}" for mutant in MUTANTS.values() for way in ("applied", "triggered")],
)
def test_everything_is_put_back_even_after_a_failure(applied: Applied) -> None:
    before = held_by_our_modules()
    with pytest.raises(ZeroDivisionError), applied():
        raise ZeroDivisionError
    assert held_by_our_modules() == before


def test_mutants_may_be_applied_together() -> None:
    with ExitStack() as applied:
        for name in ("D8", "D14", "K1", "K3", "K10"):
            applied.enter_context(MUTANTS[name].applied())
        for name in ("D8", "D14", "K1", "K3", "K10"):
            fixture, _, faulty = FIXTURES[name]
            assert fixture() == faulty, name
    assert all(FIXTURES[name][0]() == FIXTURES[name][1] for name in ("D8", "D14", "K1", "K3", "K10"))


def test_each_mutant_is_of_the_side_that_its_letter_names_and_has_a_sentence_of_its_own() -> None:
    sides = {"D": Side.ULTRAVISOR, "K": Side.HYPERVISOR}
    assert {name: mutant.side for name, mutant in MUTANTS.items()} == {
        name: sides[name[0]] for name in FIXTURES
    }
    assert all(mutant.id == name for name, mutant in MUTANTS.items())
    assert len({mutant.sentence for mutant in MUTANTS.values()}) == len(MUTANTS)


def held_by_our_modules() -> dict[str, object]:
    """Return, by place, the identity of all that our modules and the tables in them hold."""
    held: dict[str, object] = {}
    for module in modules_of_ours():
        for name, value in vars(module).items():
            held[f"{module.__name__}.{name}"] = id(value)
            if type(value) is dict:
                held |= {f"{module.__name__}.{name}[{key!r}]": id(of) for key, of in value.items()}
    tables = {"Ultravisor": GFN, **{name: row.table for name, row in DESIGNS.items()}}
    for name, table in tables.items():
        held |= {f"{name}.{place}": id(value) for place, value in vars(table).items()}
    return held
