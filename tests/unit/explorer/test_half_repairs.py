"""The halves of the repair: what each has of `pushed-fixed`; a process of one side imports no other."""

import pytest

from harness.known_designs import PARTS, known_to
from pef_explorer.half_repairs import ASKS, MARKS, HalfRepair
from pef_hypervisor.designs import DESIGNS, TWO_STATES
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, N
from pef_kit.core.designs import NAMED_BY
from pef_protocol.designs import Design
from pef_ultravisor.designs import DESIGNS as SETTINGS

NAMES = [ASKS.name, MARKS.name]


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


@pytest.mark.parametrize("part", PARTS)
def test_a_part_knows_the_halves_where_they_are_named_and_imports_no_other(part: str) -> None:
    for named, known in (("", []), (",".join(NAMES), NAMES)):
        designs, packages = known_to(part, {NAMED_BY: named})
        assert designs == [*Design, *known]
        assert not packages & PARTS[part][1]
