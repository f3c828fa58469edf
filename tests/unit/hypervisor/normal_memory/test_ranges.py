"""Ranges of normal memory: first fit, reused, never overlapping, scrubbed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.hypervisor_fixtures import HypervisorUnderTest
from pef_hypervisor.normal_memory import Misplaced, RealMemory
from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory
from pef_protocol.quantities import PAGE_SIZE, RealAddress

PAGES = 32


def memory() -> RealMemory:
    """Return normal memory of PAGES pages."""
    return RealMemory(NormalMemory.unshared(PAGES * PAGE_SIZE))


def test_the_first_gap_that_is_large_enough_is_used() -> None:
    real = memory()
    bases = [real.claim(pages) for pages in (4, 8, 4, 16)]
    assert bases == [NORMAL_BASE + pages * PAGE_SIZE for pages in (0, 4, 12, 16)]
    assert real.claim(1) is None
    assert bases[1] is not None
    real.release(bases[1], 8)
    assert real.claim(9) is None
    assert real.claim(3) == bases[1]
    assert real.claim(5) == bases[1] + 3 * PAGE_SIZE
    assert real.claim(0) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=40))
def test_ranges_never_overlap(steps: list[tuple[bool, int]]) -> None:
    real = memory()
    taken: list[tuple[RealAddress, int]] = []
    for release, pages in steps:
        if release and taken:
            real.release(*taken.pop(pages % len(taken)))
        elif (base := real.claim(pages)) is not None:
            taken.append((base, pages))
        covered = [page for base, pages in taken for page in range(base, base + pages * PAGE_SIZE, PAGE_SIZE)]
        assert len(covered) == len(set(covered))
        assert all(real.bytes.holds(page, PAGE_SIZE) for page in covered)


@pytest.mark.parametrize(("base", "pages"), [(NORMAL_BASE, 3), (NORMAL_BASE + PAGE_SIZE, 4), (0, 4)])
def test_a_range_that_was_never_handed_out_is_not_taken_back(base: int, pages: int) -> None:
    real = memory()
    real.claim(4)
    with pytest.raises(Misplaced):
        real.release(RealAddress(base), pages)


def test_a_slot_that_goes_leaves_zeroes_for_the_next() -> None:
    world = HypervisorUnderTest()
    world.plug(1, 100, 4)
    world.write(100, b"old tenant")
    world.unplug(1)
    world.plug(2, 200, 4)
    assert world.read(200, 10) == bytes(10)
    slot = world.vm.slots.get(2)
    assert slot is not None
    assert bytes(world.memory.at(slot.base, PAGE_SIZE)) == bytes(PAGE_SIZE)
