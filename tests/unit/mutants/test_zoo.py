"""Each mutant of the zoo puts something in place of what stands there, and takes all of it out again."""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import pairwise
from typing import Final

import pytest

from mutants.bred import Bred
from mutants.exchange import OURS
from mutants.rungs import LADDERS, path_of, side_of
from mutants.zoo import BRED, NAMED, ZOO
from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.gfn.table import FOUR_STATES_CELLS, VM_TABLE
from pef_protocol.calls import CALLS
from pef_protocol.states import UvGfnState
from pef_ultravisor.gfn.table import GFN, OPERATIONS

pytestmark = pytest.mark.verify


@pytest.mark.parametrize("name", ZOO)
def test_a_mutant_is_there_while_it_is_applied_and_goes_without_trace(name: str) -> None:
    sound = held()
    with ZOO[name].applied():
        assert held() != sound
    assert held() == sound
    with pytest.raises(ZeroDivisionError), ZOO[name].applied():
        raise ZeroDivisionError
    assert held() == sound


def test_mutants_of_every_family_may_be_applied_one_upon_the_other() -> None:
    sound = held()
    with ExitStack() as applied:
        for mutant in ZOO.values():
            applied.enter_context(mutant.applied())
    assert held() == sound


def test_there_is_one_that_forgets_each_rung_and_one_that_swaps_all_neighbours_that_differ() -> None:
    rungs = {f"forgets/{call.name}/{rung.name}" for call in CALLS.values() for rung in call.ladder}
    swaps = {
        f"swaps/{name}/{first.name},{second.name}"
        for name, ladder in LADDERS.items()
        for first, second in pairwise(ladder.rungs)
        if first.code is not second.code
    }
    assert {name for name in ZOO if name.startswith("forgets/")} == rungs
    assert {name for name in ZOO if name.startswith("swaps/")} == swaps
    assert len(rungs) == sum(len(call.ladder) for call in CALLS.values())


def test_there_is_one_for_each_cell_of_all_three_tables() -> None:
    ultravisor = {f"cell/{state.name}/{event.name}" for state in UvGfnState for event in OPERATIONS}
    gfns = {
        f"cell/gfn/{state.name}/{event.name}" for event, row in FOUR_STATES_CELLS.items() for state in row
    }
    vms = {f"cell/vm/{state.name}/{event.name}" for event, row in VM_TABLE.cells.items() for state in row}
    assert {name for name in ZOO if name.startswith("cell/")} == ultravisor | gfns | vms
    assert (len(ultravisor), len(gfns), len(vms)) == (84, 36, 15)


def test_a_call_of_each_name_is_bred_on_the_side_that_answers_it() -> None:
    for call in CALLS.values():
        mutant = ZOO[f"changes/{call.name}"]
        assert isinstance(mutant, Bred)
        assert mutant.side is side_of(call)
        assert mutant.concerns(f"{path_of(call)}/{call.ladder[0].name}")
        assert not mutant.concerns("uv/another/rung")


def test_every_mutant_has_a_sentence_of_its_own_side() -> None:
    told = [(mutant.side, mutant.sentence) for mutant in ZOO.values()]
    assert len(set(told)) == len(told)
    assert len(NAMED) + len(BRED) == len(ZOO) > 300


def holders() -> list[Mapping[str, object]]:
    """Return all that may hold what is exchanged: modules, their dicts and classes, tables, ladders."""
    found: list[Mapping[str, object]] = []
    for module in [module for name, module in sorted(sys.modules.items()) if name.startswith(OURS)]:
        found.append(vars(module))
        for value in vars(module).values():
            if type(value) is dict:
                found.append(value)
            elif isinstance(value, type) and value.__module__ == module.__name__:
                found.append(vars(value))
    parts = [GFN, VM_TABLE, *(rules.table for rules in DESIGNS.values()), *LADDERS.values()]
    return found + [vars(part) for part in parts]


HOLDERS: Final = holders()


def held() -> list[list[tuple[str, int]]]:
    """Return what each of them holds by each name, by its identity."""
    return [[(name, id(value)) for name, value in holder.items()] for holder in HOLDERS]
