"""Runs: rows to words and back, whatever the numbers, and no rows of another width."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_protocol.quantities import PAGE_SIZE, U64_MAX, gfn_of, gpa_of, pages_in
from pef_protocol.runs import CodedRuns, PageRuns, PlacedRuns, Runs

words = st.integers(0, U64_MAX) | st.sampled_from([0, 1, 1 << 63, U64_MAX])
kinds = st.sampled_from([PageRuns, PlacedRuns, CodedRuns])
every_kind = pytest.mark.parametrize("kind", [PageRuns, PlacedRuns, CodedRuns])


@st.composite
def kind_and_rows(draw: st.DrawFn) -> tuple[type[Runs], list[tuple[int, ...]]]:
    kind = draw(kinds)
    return kind, draw(st.lists(st.tuples(*[words] * kind.WIDTH), max_size=20))


@given(kind_and_rows())
def test_rows_go_there_and_back(example: tuple[type[Runs], list[tuple[int, ...]]]) -> None:
    kind, rows = example
    runs = kind.from_rows(rows)
    assert list(runs) == rows
    assert len(runs) == len(rows)
    assert runs == kind.of(*rows) == kind(runs.words)
    assert runs.words == b"".join(struct.pack(f"<{kind.WIDTH}Q", *row) for row in rows)


@given(kind_and_rows())
def test_pages_are_the_sum_of_the_counts(example: tuple[type[Runs], list[tuple[int, ...]]]) -> None:
    kind, rows = example
    assert kind.from_rows(rows).pages == sum(row[kind.COLUMNS.index("count")] for row in rows)


@given(st.lists(st.tuples(words, words, st.integers(-(1 << 63), (1 << 63) - 1)), max_size=20))
def test_codes_keep_their_sign(rows: list[tuple[int, int, int]]) -> None:
    assert list(CodedRuns.from_rows(rows).coded()) == rows


@every_kind
def test_rows_of_another_width_are_refused(kind: type[Runs]) -> None:
    for width in {0, 1, 2, 3, 4} - {kind.WIDTH}:
        with pytest.raises(ValueError, match=f"gpa.*count.*: {width} numbers given"):
            kind.of((1,) * width)
        with pytest.raises(ValueError, match="numbers given"):
            kind.of((1,) * kind.WIDTH, (1,) * width)


@every_kind
def test_words_that_are_no_rows_are_refused(kind: type[Runs]) -> None:
    whole = 8 * kind.WIDTH
    for length in (1, 8, whole - 1, whole + 1, 2 * whole - 8):
        with pytest.raises(ValueError, match=rf"{length} bytes are not rows of {kind.WIDTH}"):
            kind(bytes(length))


@every_kind
@pytest.mark.parametrize("number", [U64_MAX + 1, -(1 << 63) - 1, 1 << 70, -(1 << 64)])
def test_what_is_no_64_bit_number_is_refused(kind: type[Runs], number: int) -> None:
    for place in range(kind.WIDTH):
        row = [0] * kind.WIDTH
        row[place] = number
        with pytest.raises(ValueError, match=f"{number} is not a 64-bit number"):
            kind.of(tuple(row))


@every_kind
def test_no_rows_are_runs(kind: type[Runs]) -> None:
    assert list(kind()) == []
    assert len(kind()) == kind().pages == 0


def test_kinds_of_the_same_words_differ() -> None:
    placed: Runs = PlacedRuns.of((1, 2, 3))
    coded: Runs = CodedRuns.of((1, 2, 3))
    assert placed != coded
    assert placed.words == coded.words


@given(st.integers(0, U64_MAX))
def test_frames_and_addresses(gpa: int) -> None:
    assert gpa_of(gfn_of(gpa)) == gpa - gpa % PAGE_SIZE
    assert (pages_in(gpa) - 1) * PAGE_SIZE < gpa <= pages_in(gpa) * PAGE_SIZE
