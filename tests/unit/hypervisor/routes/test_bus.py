"""Requests of the bus: rows are checked first, and a stream fills the pieces in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_hypervisor.normal_memory import RealMemory
from pef_hypervisor.routes.bus import COUNT_BYTES, ROWS_LIMIT, Filling, head_bytes, rows_of
from pef_kit.runtime.auth import Problem
from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory
from pef_protocol.http import RUNS_AT_ONCE
from pef_protocol.quantities import PAGE_SIZE

PAGES = 32


def memory() -> RealMemory:
    """Return normal memory of PAGES pages."""
    return RealMemory(NormalMemory.unshared(PAGES * PAGE_SIZE))


def test_rows_outside_normal_memory_are_refused_before_a_byte_moves() -> None:
    bytes_ = memory().bytes
    good = NORMAL_BASE.to_bytes(8, "little") + PAGE_SIZE.to_bytes(8, "little")
    assert rows_of(good, bytes_) == [(NORMAL_BASE, PAGE_SIZE)]
    for bad in (
        good[:-1],
        good + (1).to_bytes(8, "little") * 2,
        NORMAL_BASE.to_bytes(8, "little") + b"\xff" * 8,
    ):
        with pytest.raises(Problem):
            rows_of(bad, bytes_)


def test_the_length_of_the_head_is_known_once_the_count_is_there() -> None:
    assert head_bytes(bytearray(3)) == COUNT_BYTES
    assert head_bytes(bytearray((5).to_bytes(8, "little"))) == COUNT_BYTES + 80
    assert head_bytes(bytearray(RUNS_AT_ONCE.to_bytes(8, "little"))) == COUNT_BYTES + ROWS_LIMIT
    for rows in (RUNS_AT_ONCE + 1, (1 << 64) - 1):
        with pytest.raises(Problem, match="addresses may have"):
            head_bytes(bytearray(rows.to_bytes(8, "little")))


@given(st.lists(st.integers(0, 50), max_size=6), st.lists(st.integers(1, 60), max_size=6))
def test_a_stream_fills_the_pieces_in_order_however_it_is_cut(lengths: list[int], cuts: list[int]) -> None:
    bytes_ = memory().bytes
    pieces = [(NORMAL_BASE + place * PAGE_SIZE, length) for place, length in enumerate(lengths)]
    content = bytes(index % 251 + 1 for index in range(sum(lengths)))
    filling, rest = Filling(pieces, bytes_), memoryview(content)
    for cut in cuts:
        filling.take(rest[:cut])
        rest = rest[cut:]
    filling.take(rest)
    filling.end()
    assert b"".join(bytes_.at(*piece) for piece in pieces) == content
    with pytest.raises(Problem, match="more bytes"):
        filling.take(memoryview(b"x"))


def test_a_stream_that_ends_too_early_is_refused() -> None:
    filling = Filling([(NORMAL_BASE, 10)], memory().bytes)
    filling.take(memoryview(b"only"))
    with pytest.raises(Problem, match="fewer bytes"):
        filling.end()
