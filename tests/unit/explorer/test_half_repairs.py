"""The halves of the repair: what each has of `pushed-fixed`; a process of one side imports no other."""

import json
import subprocess
import sys

import pytest

from pef_explorer.half_repairs import ASKS, MARKS, HalfRepair
from pef_hypervisor.designs import DESIGNS, TWO_STATES
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, N
from pef_kit.core.designs import NAMED_BY
from pef_protocol.designs import Design
from pef_ultravisor.designs import DESIGNS as SETTINGS

NAMES = [ASKS.name, MARKS.name]
LOOK = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
rows = module.DESIGNS if hasattr(module, "DESIGNS") else module.known_designs()
print(json.dumps([[*rows], sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize(("half", "asks", "marks"), [(ASKS, True, False), (MARKS, False, True)])
def test_a_half_has_one_part_of_the_repair(half: HalfRepair, *, asks: bool, marks: bool) -> None:
    row = half.hypervisor
    restores = row.table.cells[GfnEvent.INIT_ABORT][N].action is GfnAction.RESTORE_STAND_IN
    assert (row.states, restores, row.plugged_secure) == (TWO_STATES, asks, marks)
    assert half.ultravisor.page_in_at_done is SETTINGS[Design.PUSHED].page_in_at_done
    assert {half.name, row.name, half.ultravisor.name, half.lab.name} == {half.name}


def test_both_halves_together_are_the_repair() -> None:
    whole = HalfRepair(Design.PUSHED_FIXED, asks=True, marks=True)
    neither = HalfRepair(Design.PUSHED)
    assert whole.hypervisor == DESIGNS[Design.PUSHED_FIXED]
    assert neither.hypervisor == DESIGNS[Design.PUSHED]


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("pef_hypervisor.designs", {"pef_ultravisor", "pef_lab"}),
        ("pef_ultravisor.designs", {"pef_hypervisor", "pef_lab"}),
        ("pef_lab.known_designs", {"pef_hypervisor", "pef_ultravisor"}),
    ],
)
def test_a_part_knows_the_halves_where_they_are_named_and_imports_no_other(
    module: str, others: set[str]
) -> None:
    for named, known in (("", []), (",".join(NAMES), NAMES)):
        ran = subprocess.run(
            [sys.executable, "-c", LOOK, module],
            env={NAMED_BY: named},
            capture_output=True,
            text=True,
            check=True,
        )
        designs, packages = json.loads(ran.stdout)
        assert designs == [*Design, *known]
        assert not {*packages} & others
