"""Both sides' states of a whole VM: runs, how they compare, and the cells of the map."""

from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pef_console.live.columns import (
    AGREES,
    DIFFERS,
    IN_FLIGHT,
    NOTHING,
    Columns,
    Extent,
    StateRun,
    extents_of,
    rarest,
)
from pef_protocol.designs import Design
from pef_protocol.states import HvGfnState as Hv
from pef_protocol.states import UvGfnState as Uv

PAGES: Final = 1_638_400
"""GFNs of 100 GiB."""


def columns(own: list[int], theirs: list[int], *extents: Extent, settled: bool = True) -> Columns:
    """Return the columns of a VM with one slot, unless told otherwise."""
    slots = extents or (Extent(0, len(own)),)
    return Columns(slots, np.array(own, np.uint8), np.array(theirs, np.uint8), Design.TRACKED, settled)


@pytest.mark.parametrize(
    ("own", "theirs", "settled", "joint"),
    [
        (Hv.SECURE, Uv.SECURE, True, AGREES),
        (Hv.PAGED_OUT, Uv.PAGEDOUT, True, AGREES),
        (Hv.SHARED, Uv.SHARED_INV, True, AGREES),
        (Hv.NORMAL, NOTHING, True, AGREES),
        (Hv.NORMAL, Uv.SECURE, True, DIFFERS),
        (Hv.NORMAL, Uv.SECURE, False, IN_FLIGHT),
        (Hv.SECURE, NOTHING, True, DIFFERS),
        (Hv.SHARED, Uv.HV_SHARING, True, IN_FLIGHT),
    ],
)
def test_how_two_states_of_a_gfn_compare(own: int, theirs: int, settled: bool, joint: int) -> None:
    assert columns([own], [theirs], settled=settled).joint().tolist() == [joint]


def test_runs_end_where_a_state_changes_and_where_a_slot_ends() -> None:
    seen = columns([1, 1, 1, 0, 0], [0, 0, 0, NOTHING, NOTHING], Extent(0, 2), Extent(8, 3))
    assert seen.runs(9) == (
        [StateRun(0, 2, 1, 0, AGREES), StateRun(8, 1, 1, 0, AGREES), StateRun(9, 2, 0, NOTHING, AGREES)],
        0,
    )
    assert [seen.gfn_at(place) for place in range(5)] == [0, 1, 8, 9, 10]
    assert [seen.position(gfn) for gfn in (1, 2, 8, 10, 11)] == [1, None, 2, 4, None]


def test_what_differs_and_what_is_marked_is_never_left_out_before_the_rest() -> None:
    own = [int(Hv.SECURE)] * 100
    own[::2] = [int(Hv.PAGED_OUT)] * 50
    theirs = [Uv.PAGEDOUT if state == Hv.PAGED_OUT else Uv.SECURE for state in own]
    own[70] = Hv.NORMAL
    runs, left_out = columns(own, [int(state) for state in theirs]).runs(2, [31])
    assert [run.first for run in runs] == [31, 70]
    assert left_out == 98


@given(arrays(np.uint8, st.integers(1, 200), elements=st.sampled_from([0, 1, 2, 3])), st.integers(1, 40))
def test_a_cell_shows_the_state_that_the_vm_has_fewest_of(column: np.ndarray, number: int) -> None:
    """Given any column, when it is reduced, then each cell shows the rarest of the states in it."""
    cells = min(number, len(column))
    starts = np.arange(cells, dtype=np.int64) * len(column) // cells
    counts = np.bincount(column, minlength=256)
    shown = rarest(column, starts)
    for place, start in enumerate(starts):
        end = starts[place + 1] if place + 1 < cells else len(column)
        inside = column[start:end]
        assert shown[place] in inside
        assert counts[shown[place]] == min(counts[state] for state in inside)


def test_1500_odd_pages_of_100_gib_are_all_in_the_map() -> None:
    """Given 100 GiB with 1,500 pages paged out, when it is painted in 4,096 cells, then each is seen."""
    odd = np.arange(1500, dtype=np.int64) * 1092 + 7
    own, theirs = np.full(PAGES, Hv.SECURE, np.uint8), np.full(PAGES, Uv.SECURE, np.uint8)
    own[odd], theirs[odd] = Hv.PAGED_OUT, Uv.PAGEDOUT
    own[odd[3]] = Hv.NORMAL
    seen = Columns((Extent(0, PAGES),), own, theirs, Design.TRACKED, settled=True)
    rows = np.frombuffer(seen.cells(4096), np.uint8).reshape(3, 4096)
    cells = np.unique(np.searchsorted(np.arange(4096) * PAGES // 4096, odd, side="right") - 1)
    assert np.flatnonzero(rows[1] == Uv.PAGEDOUT).tolist() == cells.tolist()
    assert np.count_nonzero(rows[2] == DIFFERS) == 1
    assert np.count_nonzero(rows[0] == Hv.NORMAL) == 1


def test_a_vm_with_fewer_gfns_than_cells_has_a_cell_per_gfn() -> None:
    assert columns([1, 2], [0, 1]).cells(100) == bytes([1, 2, 0, 1, AGREES, AGREES])
    assert columns([], []).cells(100) == b""
    assert columns([], []).runs(4) == ([], 0)


def test_slots_of_both_sides_are_one_set_of_extents() -> None:
    assert extents_of([(8, 2), (0, 4), (2, 4), (10, 1)]) == (Extent(0, 6), Extent(8, 3))
