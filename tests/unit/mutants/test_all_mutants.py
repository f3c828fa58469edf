"""Each mutant puts something in place of what stands there, and takes all of it out again."""

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from itertools import pairwise
from typing import Final

import pytest

from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.gfn.table import FOUR_STATES_CELLS, VM_TABLE
from pef_mutants.all_mutants import ALL_MUTANTS, GENERATED, NAMED
from pef_mutants.checks import CHECK_ORDERS, path_of, side_of
from pef_mutants.exchange import modules_of_ours
from pef_mutants.mutant import Applied, GeneratedMutant
from pef_protocol.calls import CALLS
from pef_protocol.states import UvGfnState
from pef_ultravisor.gfn.table import GFN, OPERATIONS

pytestmark = pytest.mark.verify


APPLIED: Final[Mapping[str, Applied]] = {
    **{mutant.id: mutant.applied for mutant in ALL_MUTANTS.values()},
    **{
        f"trigger of {mutant.id}": mutant.triggered
        for mutant in ALL_MUTANTS.values()
        if mutant.triggered is not nullcontext
    },
}


@pytest.mark.parametrize("name", APPLIED)
def test_a_mutant_or_trigger_is_there_while_it_is_applied_and_goes_without_trace(name: str) -> None:
    sound = held()
    with APPLIED[name]():
        assert held() != sound
    assert held() == sound
    with pytest.raises(ZeroDivisionError), APPLIED[name]():
        raise ZeroDivisionError
    assert held() == sound


def test_mutants_of_every_family_may_be_applied_one_upon_the_other() -> None:
    sound = held()
    with ExitStack() as applied:
        for mutant in ALL_MUTANTS.values():
            applied.enter_context(mutant.applied())
    assert held() == sound


def test_there_is_one_that_forgets_each_check_and_one_that_swaps_all_neighbours_that_differ() -> None:
    checks = {f"forgets/{call.name}/{check.name}" for call in CALLS.values() for check in call.check_order}
    swaps = {
        f"swaps/{name}/{first.name},{second.name}"
        for name, check_order in CHECK_ORDERS.items()
        for first, second in pairwise(check_order.checks)
        if first.code is not second.code
    }
    assert {name for name in ALL_MUTANTS if name.startswith("forgets/")} == checks
    assert {name for name in ALL_MUTANTS if name.startswith("swaps/")} == swaps
    assert len(checks) == sum(len(call.check_order) for call in CALLS.values())


def test_there_is_one_for_each_cell_of_all_three_tables() -> None:
    ultravisor = {f"cell/{state.name}/{event.name}" for state in UvGfnState for event in OPERATIONS}
    gfns = {
        f"cell/gfn/{state.name}/{event.name}" for event, row in FOUR_STATES_CELLS.items() for state in row
    }
    vms = {f"cell/vm/{state.name}/{event.name}" for event, row in VM_TABLE.cells.items() for state in row}
    assert {name for name in ALL_MUTANTS if name.startswith("cell/")} == ultravisor | gfns | vms
    assert (len(ultravisor), len(gfns), len(vms)) == (84, 36, 15)


def test_a_call_of_each_name_is_generated_on_the_side_that_answers_it() -> None:
    for call in CALLS.values():
        mutant = ALL_MUTANTS[f"changes/{call.name}"]
        assert isinstance(mutant, GeneratedMutant)
        assert mutant.side is side_of(call)
        assert mutant.concerns(f"{path_of(call)}/{call.check_order[0].name}")
        assert not mutant.concerns("uv/another/check")


def test_every_mutant_has_a_sentence_of_its_own_side() -> None:
    reported = [(mutant.side, mutant.sentence) for mutant in ALL_MUTANTS.values()]
    assert len(set(reported)) == len(reported)
    assert len(NAMED) + len(GENERATED) == len(ALL_MUTANTS) > 300


def holders() -> list[Mapping[str, object]]:
    """Return all that may hold what is exchanged: modules, their dicts and classes, tables, check orders."""
    found: list[Mapping[str, object]] = []
    for module in modules_of_ours():
        found.append(vars(module))
        for value in vars(module).values():
            if type(value) is dict:
                found.append(value)
            elif isinstance(value, type) and value.__module__ == module.__name__:
                found.append(vars(value))
    parts = [GFN, VM_TABLE, *(rules.table for rules in DESIGNS.values()), *CHECK_ORDERS.values()]
    return found + [vars(part) for part in parts]


HOLDERS: Final = holders()


def held() -> list[list[tuple[str, int]]]:
    """Return what each of them holds by each name, by its identity."""
    return [[(name, id(value)) for name, value in holder.items()] for holder in HOLDERS]
