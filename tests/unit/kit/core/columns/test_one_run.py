"""One run is looked up in slots by a shorter way than many, with the same answer."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from pef_kit.core.columns import Slot, SlotMap, gfn_set_of
from pef_kit.core.runs import NOT_FOUND, U64
from pef_protocol.quantities import PAGE_SIZE, Gfn, SlotId

SLOTS = ((0, 0, 3), (1, 3, 2), (2, 9, 4))
FAR = 1 << 40
"""An address that no slot holds, so that it changes nothing for the other run of a message."""


def slots() -> SlotMap[Slot]:
    """Return three slots, of which two abut."""
    held = SlotMap[Slot]()
    for slot_id, first, count in SLOTS:
        held.add(Slot(SlotId(slot_id), Gfn(first), count))
    return held


def words(*numbers: int) -> U64:
    """Return numbers as a column of a message."""
    return np.array(numbers, np.uint64)


@given(
    st.one_of(st.integers(0, 15).map(lambda gfn: gfn * PAGE_SIZE), st.integers(0, (1 << 64) - 1)),
    st.one_of(st.integers(0, 5), st.integers(0, (1 << 64) - 1)),
)
@example(2 * PAGE_SIZE, 1)
@example(2 * PAGE_SIZE, 2)
@example(2 * PAGE_SIZE + 8, 1)
@example(5 * PAGE_SIZE, 0)
@example(12 * PAGE_SIZE, 1)
@example(13 * PAGE_SIZE, 0)
def test_one_run_is_found_where_it_is_found_among_others(gpa: int, count: int) -> None:
    held = slots()
    alone = held.locate(words(gpa), words(count)).tolist()
    assert alone == held.locate(words(gpa, FAR), words(count, 1)).tolist()[:1]


def test_one_run_finds_the_slot_that_holds_it() -> None:
    held = slots()
    places = held.locate(words(10 * PAGE_SIZE), words(2))
    (gfns,) = held.gfn_sets(words(10 * PAGE_SIZE), words(2), np.arange(1), places)
    assert (gfns.slot.slot_id, gfns.offsets.tolist(), gfns.pages) == (2, [1], 2)
    assert gfns.each_offset().tolist() == [1, 2]
    assert gfns.each_gfn().tolist() == [10, 11]


def test_an_empty_map_holds_no_run() -> None:
    assert SlotMap[Slot]().locate(words(0), words(1)).tolist() == [NOT_FOUND]


def test_a_gfn_set_of_one_run_counts_its_pages() -> None:
    slot = Slot(SlotId(0), Gfn(4), 8)
    assert gfn_set_of(slot, 2, 5).pages == 5
