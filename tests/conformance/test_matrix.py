"""The rows can fail, and no fault goes unseen: what kills nothing, or is not killed, is explained."""

import pytest

from conformance.judging import trials
from conformance.matrix import hold
from pef_lab.rows.catalogue import all_rows
from pef_mutants.all_mutants import ALL_MUTANTS


@pytest.mark.verify
@pytest.mark.sockets
@pytest.mark.slow
def test_each_mutant_is_killed_and_each_row_kills_or_it_is_said_why_not() -> None:
    grid = hold(trials())
    assert list(grid.wrongs()) == []
    assert grid.kills.keys() == ALL_MUTANTS.keys()
    assert len(grid.kills) - len(grid.alive) >= 300
    assert grid.rows == {row.id for row in all_rows()}
