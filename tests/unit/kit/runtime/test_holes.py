"""Holes of normal memory: reading one gives zeroes and leaves it a hole."""

import mmap

import numpy as np
import pytest

from pef_kit.core.effects import Transfer
from pef_kit.runtime import holes
from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory, carry_out
from pef_protocol.quantities import PAGE_SIZE

SIZE = 64 * PAGE_SIZE


def test_reading_leaves_holes_as_they_are() -> None:
    memory = NormalMemory.unshared(SIZE)
    memory.at(NORMAL_BASE + 3 * PAGE_SIZE, 1)[:] = b"x"
    seen, found = memory.copied(NORMAL_BASE, SIZE), bytearray(b"\xff" * (SIZE - 7))

    def each(_: int, offset: int, view: memoryview) -> None:
        found[offset : offset + len(view)] = view

    carry_out(memory, Transfer([(NORMAL_BASE + 7, SIZE - 7)], each, writes=False))
    assert (seen.index(b"x"), seen.count(0)) == (3 * PAGE_SIZE, SIZE - 1)
    assert found == seen[7:]
    assert list(memory.parts(NORMAL_BASE + 2 * PAGE_SIZE + 9, 2 * PAGE_SIZE)) == [
        (0, PAGE_SIZE - 9, True),
        (PAGE_SIZE - 9, PAGE_SIZE, False),
        (2 * PAGE_SIZE - 9, 9, True),
    ]


def test_what_the_kernel_swapped_out_is_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = NormalMemory.unshared(SIZE)
    memory.at(NORMAL_BASE + 3 * PAGE_SIZE, 1)[:] = b"x"
    monkeypatch.setattr(holes, "resident", lambda _, length: np.zeros(length // mmap.PAGESIZE, np.bool_))
    assert memory.copied(NORMAL_BASE, SIZE).index(b"x") == 3 * PAGE_SIZE


def test_what_is_outside_is_refused() -> None:
    memory = NormalMemory.unshared(SIZE)
    with pytest.raises(ValueError, match="not normal memory"):
        memory.copied(NORMAL_BASE + SIZE - 1, 2)
