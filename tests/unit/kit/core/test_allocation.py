"""Columns as they are allocated: shape, zeroes, cost, and what happens where there is no memory."""

import mmap
import resource
from typing import Any

import numpy as np
import pytest

from pef_kit.core.allocation import LARGE, column

PAGE = resource.getpagesize()


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - one line of procfs
        return int(file.read().split()[1]) * PAGE


@pytest.mark.parametrize("count", [0, 1, LARGE // 8 - 1, LARGE // 8, LARGE])
@pytest.mark.parametrize(("width", "shape"), [(1, ()), (16, (16,))])
def test_a_column_is_zero_and_can_be_written(count: int, width: int, shape: tuple[int, ...]) -> None:
    made = column(count, np.uint64, width)
    assert made.shape == (count, *shape)
    assert made.dtype == np.dtype(np.uint64)
    assert not made.any()
    made[:] = 7
    assert (made == 7).all()


def test_a_large_column_costs_nothing_until_it_is_written() -> None:
    before = resident()
    made = column(1 << 24, np.uint64)
    assert resident() - before < 1 << 20
    made[: 1 << 20] = 1
    assert resident() - before >= 1 << 23


@pytest.mark.parametrize("count", [1 << 58, 1 << 62, 1 << 64])
def test_a_column_for_which_there_is_no_memory_is_a_memory_error(count: int) -> None:
    with pytest.raises(MemoryError):
        column(count, np.uint64)


def test_memory_that_the_kernel_refuses_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(MemoryError, match="Cannot allocate memory"):
        column(LARGE, np.uint8)
