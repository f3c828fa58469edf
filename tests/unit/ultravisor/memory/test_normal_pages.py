"""Whole pages of normal memory: one run is judged as it is beside another."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.quantities import PAGE_SIZE
from pef_ultravisor.memory.normal_pages import NormalPages

PAGES = 8
ELSEWHERE = 0
"""An address that is not normal memory, so that it names no page of the other run."""


def whole(*runs: tuple[int, int]) -> list[bool]:
    """Judge runs of (address, pages)."""
    addresses, counts = np.array(runs, np.uint64).T
    verdict: list[bool] = NormalPages(PAGES * PAGE_SIZE).whole(addresses, counts).tolist()
    return verdict


@given(
    st.one_of(
        st.integers(-2, PAGES + 2).map(lambda page: NORMAL_BASE + page * PAGE_SIZE),
        st.integers(0, (1 << 64) - 1),
    ),
    st.one_of(st.integers(0, PAGES + 2), st.integers(0, (1 << 64) - 1)),
)
@example(NORMAL_BASE + (PAGES - 1) * PAGE_SIZE, 1)
@example(NORMAL_BASE + PAGES * PAGE_SIZE, 0)
@example(NORMAL_BASE + 8, 1)
def test_one_run_is_judged_as_beside_another(address: int, count: int) -> None:
    assert whole((address, count)) == whole((address, count), (ELSEWHERE, 1))[:1]


def test_a_page_is_in_use_until_it_is_given_back() -> None:
    pages, taken = NormalPages(PAGES * PAGE_SIZE), np.array([NORMAL_BASE + 2 * PAGE_SIZE], np.uint64)
    pages.take(taken)
    assert pages.used == 1
    pages.release(taken)
    assert pages.used == 0
