"""Arithmetic on runs, beside slow twins that go page by page."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pef_kit.core.runs import (
    U64,
    columns_of,
    page_aligned,
    repeats,
    run_starts,
    runs_of_true,
    select,
    spread,
    words_of,
)
from pef_protocol.quantities import PAGE_SIZE, U64_MAX
from pef_protocol.runs import CodedRuns, PageRuns, PlacedRuns

small_runs = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=12)
words = st.integers(0, U64_MAX) | st.sampled_from([0, 1 << 63, U64_MAX])


def u64(numbers: list[int]) -> U64:
    return np.array(numbers, np.uint64)


def i64(numbers: list[int]) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def overlapping(runs: list[tuple[int, int]]) -> list[bool]:
    """Say of each run whether another one has a page of it."""
    pages = [set(range(start, start + count)) for start, count in runs]
    return [
        any(pages[mine] & theirs for other, theirs in enumerate(pages) if other != mine)
        for mine in range(len(runs))
    ]


@given(small_runs)
def test_repeats_are_the_runs_that_share_a_page_with_another(runs: list[tuple[int, int]]) -> None:
    marked = repeats(u64([start for start, _ in runs]), u64([count for _, count in runs]))
    assert marked.tolist() == overlapping(runs)


@pytest.mark.parametrize(
    ("runs", "marked"),
    [
        ([(0, 4), (4, 4)], [False, False]),
        ([(0, 5), (4, 4)], [True, True]),
        ([(4, 1), (4, 1)], [True, True]),
        ([(0, 9), (3, 0)], [False, False]),
        ([(3, 0), (3, 0), (3, 1)], [False, False, False]),
        ([(0, 9), (1, 1), (3, 1), (20, 1)], [True, True, True, False]),
    ],
    ids=["abutting", "one page", "the same", "no page inside", "no pages", "one covers two"],
)
def test_repeats_of(runs: list[tuple[int, int]], marked: list[bool]) -> None:
    assert repeats(*(u64(list(column)) for column in zip(*runs, strict=True))).tolist() == marked
    assert overlapping(runs) == marked


@given(small_runs, st.sampled_from([1, PAGE_SIZE]))
def test_spreading_counts_each_run_up(runs: list[tuple[int, int]], step: int) -> None:
    expanded = spread(i64([start for start, _ in runs]), i64([count for _, count in runs]), step)
    assert expanded.dtype == np.int64
    assert expanded.tolist() == [start + page * step for start, count in runs for page in range(count)]


@given(small_runs)
def test_a_selection_chooses_the_runs_in_their_order(runs: list[tuple[int, int]]) -> None:
    column = np.arange(100)
    chosen = select(i64([start for start, _ in runs]), i64([count for _, count in runs]))
    assert column[chosen].tolist() == [start + page for start, count in runs for page in range(count)]
    assert isinstance(chosen, slice) == (len(runs) == 1)


def true_runs(mask: list[bool]) -> list[tuple[int, int]]:
    """Find the stretches of true elements, one element after another."""
    found: list[tuple[int, int]] = []
    for place, element in enumerate(mask):
        if element and place and mask[place - 1]:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        elif element:
            found.append((place, 1))
    return found


@given(st.lists(st.booleans(), max_size=40))
def test_runs_of_true_of_a_mask(mask: list[bool]) -> None:
    firsts, counts = runs_of_true(np.array(mask, np.bool_))
    assert list(zip(firsts.tolist(), counts.tolist(), strict=True)) == true_runs(mask)


@given(st.lists(st.sampled_from([0, 1, 2, 127, 128, 255]), max_size=40))
def test_runs_of_true_of_a_column_are_those_of_its_true_elements(column: list[int]) -> None:
    firsts, counts = runs_of_true(np.array(column, np.uint8))
    found = list(zip(firsts.tolist(), counts.tolist(), strict=True))
    assert found == true_runs([bool(element) for element in column])


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from([-1, 0]), words), max_size=30))
def test_breaks_are_where_a_column_does_not_go_on_by_its_step(rows: list[tuple[int, int, int]]) -> None:
    steps = (1, 0, PAGE_SIZE)
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    firsts, counts = run_starts(
        len(rows),
        (i64(columns[0]), steps[0]),
        (np.array(columns[1], np.int16), steps[1]),
        (u64(columns[2]), steps[2]),
    )
    cuts = [0] if rows else []
    for place, (before, after) in enumerate(pairwise(rows), start=1):
        goes_on = all(
            (new - old - step) % (1 << 64) == 0 for old, new, step in zip(before, after, steps, strict=True)
        )
        cuts += [] if goes_on else [place]
    assert firsts.tolist() == cuts
    assert counts.tolist() == [end - start for start, end in pairwise([*cuts, len(rows)])] * bool(rows)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=8))
def test_breaks_put_spread_runs_together_again(gaps: list[tuple[int, int]]) -> None:
    runs: list[tuple[int, int]] = []
    for gap, count in gaps:
        start = runs[-1][0] + runs[-1][1] + gap + 1 if runs else gap
        runs.append((start, count))
    numbers = spread(i64([start for start, _ in runs]), i64([count for _, count in runs]), 1)
    firsts, counts = run_starts(len(numbers), (numbers, 1))
    assert list(zip(numbers[firsts].tolist(), counts.tolist(), strict=True)) == runs


@given(st.lists(st.tuples(words, words, words), max_size=20))
def test_columns_of_runs_and_back(rows: list[tuple[int, int, int]]) -> None:
    columns = columns_of(PlacedRuns.from_rows(rows))
    assert [column.tolist() for column in columns] == [[row[place] for row in rows] for place in range(3)]
    assert words_of(*columns) == PlacedRuns.from_rows(rows).words


def test_negative_codes_travel_in_twos_complement() -> None:
    words_sent = words_of(u64([U64_MAX]), i64([-1]), np.array([-5001], np.int16))
    assert list(CodedRuns(words_sent).coded()) == [(U64_MAX, U64_MAX, -5001)]


def test_no_runs_have_empty_columns() -> None:
    assert [column.tolist() for column in columns_of(PageRuns())] == [[], []]


@given(st.lists(words, max_size=10))
def test_page_aligned(numbers: list[int]) -> None:
    assert page_aligned(u64(numbers)).tolist() == [number % PAGE_SIZE == 0 for number in numbers]
