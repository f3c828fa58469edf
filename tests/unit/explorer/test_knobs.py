"""Designs with one knob turned: what each differs in; a process of one side imports no other."""

from dataclasses import fields
from importlib.metadata import entry_points
from typing import Any, Final

import pytest

from harness.known_designs import PARTS, known_to
from pef_explorer.knobs import DESIGNS as MADE
from pef_hypervisor.designs import DESIGNS
from pef_kit.core.designs import GROUP, NAMED_BY
from pef_lab.known_designs import known_designs
from pef_protocol.designs import Design, DesignName
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
