"""One run or one element goes a shorter way than many, with the same answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_kit.core.runs import isin, run_starts, runs_of_true, spread
from pef_protocol.quantities import PAGE_SIZE


@pytest.mark.parametrize("step", [1, PAGE_SIZE])
def test_a_run_spreads_alone_as_beside_another(step: int) -> None:
    alone = spread(np.array([7]), np.array([3]), step)
    both = spread(np.array([7, 100]), np.array([3, 2]), step)
    assert alone.tolist() == both.tolist()[:3] == [7, 7 + step, 7 + 2 * step]


def test_addresses_at_the_end_of_all_numbers_wrap() -> None:
    last = (1 << 63) - 1
    assert spread(np.array([last]), np.array([2]), PAGE_SIZE).tolist() == [last, -(1 << 63) + PAGE_SIZE - 1]


def test_one_element_is_one_piece() -> None:
    firsts, counts = run_starts(1, (np.array([5]), 1))
    assert (firsts.tolist(), counts.tolist()) == ([0], [1])
    assert [len(column) for column in run_starts(0)] == [0, 0]


@given(st.lists(st.booleans(), max_size=12))
def test_runs_of_true_are_those_of_a_walk(mask: list[bool]) -> None:
    firsts, counts = runs_of_true(np.array(mask, np.bool_))
    covered = [
        place for first, count in zip(firsts, counts, strict=True) for place in range(first, first + count)
    ]
    assert covered == [place for place, chosen in enumerate(mask) if chosen]
    assert (np.diff(firsts) > counts[:-1]).all()


@given(st.lists(st.integers(0, 5), max_size=8), st.sets(st.integers(0, 5), min_size=1))
def test_among_marks_the_wanted(column: list[int], wanted: set[int]) -> None:
    marked = isin(np.array(column, np.uint8), *wanted)
    assert marked.tolist() == [value in wanted for value in column]
