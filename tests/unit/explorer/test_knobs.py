"""Designs with one knob turned: what each differs in; a process of one side imports no other."""

from dataclasses import fields, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import pytest

from harness.known_designs import PARTS, known_to
from pef_explorer.actions.move import Move
from pef_explorer.knobs import DESIGNS as MADE
from pef_explorer.plan import Plan
from pef_explorer.session.session import Session
from pef_explorer.world.world import World
from pef_hypervisor.designs import DESIGNS
from pef_kit.core.designs import GROUP, NAMED_BY
from pef_lab.known_designs import known_designs
from pef_lab.replay.counterexample import read
from pef_protocol.designs import Design, DesignName
from pef_protocol.states import HvGfnState, UvGfnState
from pef_ultravisor.designs import DESIGNS as SETTINGS

CHANGED: Final = {
    "reflects": {"reflects_faults", "serves_faults"},
    "unmarked": {"marks_hypercalls"},
    "copies": {"copies_until_secure"},
    "coded": {"shared_code", "leaves", "resident"},
    "intent": {"reads_intent", "page_in_flags"},
    "scrubs": {"cells"},
    "early": {"plugged_secure"},
}


def changed(row: Any, base: Any) -> set[str]:
    names = {field.name for field in fields(row)} - {"name", "table"}
    return {name for name in names if getattr(row, name) != getattr(base, name)}


@pytest.mark.parametrize("name", MADE)
def test_a_knob_changes_its_own_settings_and_no_other(name: DesignName) -> None:
    design = MADE[name]
    row, settings, observed = design.hypervisor, design.ultravisor, design.lab
    found = changed(row, DESIGNS[design.base]) | changed(settings, SETTINGS[design.base])
    assert found == CHANGED[design.knob.name]
    assert not changed(observed, known_designs()[design.base])
    assert {row.name, settings.name, observed.name} == {name}


def test_each_design_is_an_entry_point_of_its_name() -> None:
    found = {each.name: each.load() for each in entry_points(group=GROUP) if "knobs" in each.value}
    assert found == MADE


@pytest.mark.parametrize("part", PARTS)
def test_a_part_knows_them_where_they_are_named_and_imports_no_other(part: str) -> None:
    designs, packages = known_to(part, {NAMED_BY: ",".join(MADE)})
    assert designs == [*Design, *MADE]
    assert not packages & PARTS[part][1]


TWICE: Final = read(
    Path(__file__).parents[3] / "docs" / "counterexamples" / "pushed-fixed-the-guest-finds-what-it-wrote.json"
)
"""A UV_PAGE_IN is done twice while H_SVM_INIT_DONE is outstanding."""


def tables_after(moves: list[Move], plan: Plan) -> tuple[bytes, bytes]:
    """Return the states of GFN 1 at both sides after moves on a system."""
    world = World(plan)
    world.system.uv.designs |= {plan.design}
    for move in moves:
        world.do(move)
    return world.now.hv[1:], world.now.uv[1:]


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("pushed-fixed-coded", HvGfnState.SECURE),
        ("pushed-fixed-intent", HvGfnState.NORMAL),
        ("pushed-fixed", HvGfnState.NORMAL),
    ],
)
def test_a_code_for_shared_tells_a_page_that_came_twice_from_a_shared_one_and_a_flag_does_not(
    monkeypatch: pytest.MonkeyPatch, name: str, state: HvGfnState
) -> None:
    session = Session.of_file(TWICE)
    session.run("end")
    rows = dict(DESIGNS) | {str(each): design.hypervisor for each, design in MADE.items()}
    settings = dict(SETTINGS) | {str(each): design.ultravisor for each, design in MADE.items()}
    monkeypatch.setattr("pef_hypervisor.from_vmm.create_vm.DESIGNS", rows)
    monkeypatch.setattr("pef_ultravisor.state.DESIGNS", settings)
    plan = replace(session.plan, design=DesignName(name))
    assert tables_after([*session.own_moves()], plan) == (bytes([state]), bytes([UvGfnState.SECURE]))
