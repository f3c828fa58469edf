"""Calls on different GFNs commute: observed on two and three GFNs, in the settled states that a search finds.

So N GFNs fail if and only if one or two do, as long as no pool runs out, and with a range as a sequence of
single GFNs. Nothing here believes the explorer's footprints: what a call changes and depends on is looked at.
"""

from dataclasses import replace
from typing import Any, Final

import pytest

from commuting.checks import commuting, ends_of_whole, local
from commuting.settled import settled_states
from pef_explorer.actions.operations import PERFORMED, Asked, host_write
from pef_explorer.machines.planned import PlannedPair
from pef_explorer.machines.small_memory import TOKEN_BYTES
from pef_explorer.plan import IMAGES, Part, Plan
from pef_protocol.designs import Design

pytestmark = pytest.mark.verify

DESIGNS: Final = (Design.TRACKED, Design.PUSHED_FIXED)
TWO: Final = [Plan(design, image, plug=0) for design in DESIGNS for image in IMAGES[2]]
THREE: Final = [Plan(design, IMAGES[3][0], plug=0) for design in DESIGNS]
PLUGGED: Final = [Plan(design, IMAGES[2][0], plug=1) for design in DESIGNS]
FOUND_IN: Final = 6_000
"""Transitions of a search of three GFNs: its first settled states are enough."""
EACH: Final = 5
"""Of the settled states of three GFNs pairs of calls run in every fifth one."""


def named(plan: Plan) -> str:
    parts = "-".join(part.value for part in plan.image)
    return f"{plan.design}-{parts}{'-plugged' * plan.plug}"


@pytest.mark.parametrize("plan", [*TWO, *THREE, *PLUGGED], ids=named)
def test_a_call_changes_and_depends_on_nothing_but_its_gfn(plan: Plan) -> None:
    compared = local(plan, settled_states(plan, 0 if plan in TWO else FOUND_IN))
    assert compared.runs > 400
    assert compared.wrong == []


@pytest.mark.parametrize("plan", TWO, ids=named)
def test_two_calls_on_two_gfns_end_alike_in_every_schedule(plan: Plan) -> None:
    compared = commuting(plan, settled_states(plan))
    assert compared.runs > 7_000
    assert compared.wrong == []


@pytest.mark.parametrize("plan", [*THREE, *PLUGGED], ids=named)
def test_two_calls_among_three_gfns_end_alike_in_every_schedule(plan: Plan) -> None:
    compared = commuting(plan, settled_states(plan, FOUND_IN)[::EACH])
    assert compared.runs > 1_000
    assert compared.wrong == []


@pytest.mark.parametrize("plan", TWO, ids=named)
def test_a_call_on_the_whole_vm_ends_for_each_gfn_as_if_it_were_alone(plan: Plan) -> None:
    alone = [
        ends_of_whole(each, settled_states(each))
        for each in (replace(plan, image=(part,)) for part in plan.image)
    ]
    found = ends_of_whole(plan, settled_states(plan))
    assert len(found) > 20
    for (gfn, action, before), ends in found.items():
        assert ends <= alone[gfn][0, action, before], (gfn, action)


# The checks can fail


def test_a_call_that_touches_another_gfn_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(Design.TRACKED, (Part.UNMIGRATED, Part.UNMIGRATED), plug=0)
    settled = settled_states(plan)[:4]

    def operation(machines: PlannedPair, asked: Asked) -> Any:
        return host_write(machines, asked._replace(gfn=1 - asked.gfn))

    performed = replace(PERFORMED["host write"], operation=operation)
    monkeypatch.setitem(PERFORMED, "host write", performed)
    assert any("changed GFN" in sentence for sentence in local(plan, settled).wrong)


def test_calls_that_do_not_commute_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(Design.TRACKED, (Part.UNMIGRATED, Part.UNMIGRATED), plug=0)
    settled = settled_states(plan)[:4]

    def operation(machines: PlannedPair, asked: Asked) -> Any:
        place = machines.page_of(asked.lpid, 1 - asked.gfn)
        other = machines.memory.known[place][:TOKEN_BYTES].tobytes()  # what the other GFN holds by then
        return host_write(machines, asked._replace(content=other[::-1]))

    performed = replace(PERFORMED["host write"], operation=operation)
    monkeypatch.setitem(PERFORMED, "host write", performed)
    assert commuting(plan, settled).wrong
