"""The model is what it says: what it reaches, and what the explorer reaches with the services' own code."""

from functools import cache
from typing import Final

import pytest

from induction.design import tables_of
from induction.invariant import invariant
from induction.properties import AT_REST, properties
from induction.reach import CODE, PLACE, Reached, breaking, reach, run_to_breach, where
from induction.rule import Misnamed, Rules, cube
from induction.rules_of import rules_of
from induction.variables import ABSENT, NONE, VARIABLES
from pef_explorer.plan import IMAGES, Part, Plan
from pef_explorer.search.search import Search
from pef_explorer.world.observation import ABSENT as NO_STATE
from pef_explorer.world.observation import Observation
from pef_explorer.world.records import SettledState
from pef_explorer.world.world import World
from pef_hypervisor.gfn.columns import HOST_POPULATED, SENT, STAND_IN
from pef_protocol.designs import Design
from pef_protocol.states import HvGfnState, HvVmState, UvGfnState, UvVmState
from pef_ultravisor.gfn.columns import IMPORTED

SOUND: Final = (Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED_FIXED)
SEEN: Final = (
    "hv_vm",
    "must_abort",
    "uv_vm",
    "here",
    "registered",
    "hv",
    "host_populated",
    "stand_in",
    "sent",
    "uv",
    "imported",
    "mapped",
)
"""The variables of the model that an observation of both machines shows."""
LEAST: Final = 8
"""Settled conditions of a GFN that each complete search of one call at a time has."""


@cache
def reached(name: Design) -> Reached:
    return reach(rules_of(tables_of(name)))


def test_a_value_that_there_is_not_is_refused() -> None:
    with pytest.raises(Misnamed, match="hv in"):
        cube({"hv": "LOST"})
    with pytest.raises(Misnamed, match="no_such"):
        Rules().add("nothing", {"hv": "NORMAL"}, {"no_such": "no"})


@pytest.mark.verify
@pytest.mark.parametrize("name", SOUND)
def test_each_state_that_is_reached_satisfies_the_invariant(name: Design) -> None:
    rows = reached(name).rows
    broken = [each.sentence for each in invariant(name, tables_of(name)) if len(breaking(each, rows))]
    assert broken == []


@pytest.mark.verify
@pytest.mark.parametrize("name", [each for each in Design if each not in SOUND])
def test_an_unsound_design_has_a_run_that_breaks_a_property(name: Design) -> None:
    rules = list(rules_of(tables_of(name)))
    found = run_to_breach(reached(name), rules, properties(name))
    assert found is not None
    clause, steps = found
    assert not clause.holds(steps[-1][1])


class Settled(Search):
    """A search that keeps each quiescent state which it finds."""

    def __init__(self, plan: Plan) -> None:
        self.settled: list[SettledState] = []
        super().__init__(plan)

    def _push(self, world: World, depth: int, number: int, settled: SettledState) -> None:
        self.settled.append(settled)
        super()._push(world, depth, number, settled)


@pytest.mark.verify
@pytest.mark.parametrize("image", IMAGES[1], ids=lambda image: image[0].value)
@pytest.mark.parametrize("name", [Design.TRACKED, Design.PUSHED_FIXED])
def test_the_model_has_each_settled_state_of_both_machines(name: Design, image: tuple[Part, ...]) -> None:
    search = Settled(Plan(name, image, calls=1))
    search.go_on(lambda _: False)
    world, observed = World(search.plan), set()
    for settled in search.settled:
        if settled.snapshot.suspended is None:
            world.put_back(settled)
            observed |= {projection(world.now, gfn) for gfn in range(world.plan.pages)}
    rows = reached(name).rows[where(cube(AT_REST), reached(name).rows)]
    known = {tuple(row) for row in rows[:, [PLACE[variable] for variable in SEEN]].tolist()}
    assert len(observed) >= LEAST
    assert [described(each) for each in observed - known] == []


def projection(seen: Observation, gfn: int) -> tuple[int, ...]:
    """Return what an observation says of one GFN, as numbers of the model."""
    slot_number = min(gfn, 1)
    here = seen.hv[gfn] != NO_STATE
    marks = seen.hv_marks[gfn]
    state = {
        "hv_vm": HvVmState(seen.hv_vm[0]).name,
        "must_abort": truth(seen.hv_vm[1]),
        "uv_vm": NONE if seen.uv_vm is None else UvVmState(seen.uv_vm[0]).name,
        "here": truth(here),
        "registered": truth(here and seen.registered[slot_number]),
        "hv": HvGfnState(seen.hv[gfn]).name if here else "NORMAL",
        "host_populated": truth(marks & HOST_POPULATED),
        "stand_in": truth(marks & STAND_IN),
        "sent": truth(marks & SENT),
        "uv": ABSENT if seen.uv[gfn] == NO_STATE else UvGfnState(seen.uv[gfn]).name,
        "imported": truth(seen.uv_marks[gfn] & IMPORTED),
        "mapped": truth(seen.mapped[gfn]),
    }
    return tuple(CODE[name][state[name]] for name in SEEN)


def truth(value: int) -> str:
    return "yes" if value else "no"


def described(numbers: tuple[int, ...]) -> dict[str, str]:
    return {name: VARIABLES[name][number] for name, number in zip(SEEN, numbers, strict=True)}
