"""Slots and slot maps, beside a slow twin that knows a set of GFNs a slot."""

import hashlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pef_kit.core.columns import GfnSet, Slot, SlotMap, gfn_set_of, gfn_set_where
from pef_kit.core.runs import NOT_FOUND, U64
from pef_protocol.quantities import PAGE_SIZE, U64_MAX, Gfn, SlotId

LAST_GFN = U64_MAX // PAGE_SIZE
HIGH = LAST_GFN - 9
"""Slots of the tests: two that abut, one apart, one at the very end of guest memory."""
SLOTS = {0: (0, 4), 5: (4, 8), 3: (20, 6), 511: (HIGH, 10)}

edges = sorted(
    {edge for first, count in SLOTS.values() for edge in (first, first + count - 1, first + count)}
)
gfns = st.sampled_from(edges) | st.integers(0, 40) | st.integers(0, U64_MAX // PAGE_SIZE)
gpas = gfns.map(lambda gfn: gfn * PAGE_SIZE & U64_MAX) | st.integers(0, U64_MAX)
counts = st.integers(0, 12) | st.sampled_from([1 << 32, 1 << 48, 1 << 63, U64_MAX]) | st.integers(0, U64_MAX)
messages = st.lists(st.tuples(gpas, counts), max_size=8)


def slot_map() -> SlotMap[Slot]:
    slots: SlotMap[Slot] = SlotMap()
    for slot_id, (first, count) in SLOTS.items():
        slots.add(Slot(SlotId(slot_id), Gfn(first), count))
    return slots


def columns(runs: list[tuple[int, int]]) -> tuple[U64, U64]:
    return np.array([gpa for gpa, _ in runs], np.uint64), np.array([count for _, count in runs], np.uint64)


def held(gpa: int, count: int) -> int | None:
    """Return the id of the slot that holds a run whole, by exact arithmetic."""
    if gpa % PAGE_SIZE:
        return None
    gfn = gpa // PAGE_SIZE
    for slot_id, (first, pages) in SLOTS.items():
        if first <= gfn < first + pages and gfn + count <= first + pages:
            return slot_id
    return None


def reported(runs: list[tuple[int, int]]) -> list[int | None]:
    """Say of each run which slot holds it, where no other such run has a page of it."""
    places = [held(gpa, count) for gpa, count in runs]
    pages = [
        set(range(gpa // PAGE_SIZE, gpa // PAGE_SIZE + count)) if place is not None else set()
        for (gpa, count), place in zip(runs, places, strict=True)
    ]
    return [
        None if any(pages[mine] & pages[other] for other in range(len(runs)) if other != mine) else place
        for mine, place in enumerate(places)
    ]


@given(messages)
@example([(0, 4), (0, 0)])
@example([(0, 4), (2 * PAGE_SIZE, 0), (3 * PAGE_SIZE, 1)])
@example([(HIGH * PAGE_SIZE, 10), (HIGH * PAGE_SIZE, 11), (U64_MAX, 1), (U64_MAX - PAGE_SIZE + 1, 1)])
@example([(20 * PAGE_SIZE, U64_MAX), (20 * PAGE_SIZE, U64_MAX - 19)])
def test_places_are_those_of_the_reference_model(runs: list[tuple[int, int]]) -> None:
    slots = slot_map()
    places = slots.locate(*columns(runs))
    by_place = sorted(SLOTS, key=lambda slot_id: SLOTS[slot_id][0])
    assert [None if place == NOT_FOUND else by_place[place] for place in places] == reported(runs)


@given(messages)
def test_gfn_sets_hold_exactly_the_pages_of_the_runs(runs: list[tuple[int, int]]) -> None:
    slots = slot_map()
    starts, lengths = columns(runs)
    places = slots.locate(starts, lengths)
    gfn_sets = slots.gfn_sets(starts, lengths, np.flatnonzero(places != NOT_FOUND), places)
    wanted = {
        (row, gpa // PAGE_SIZE + page)
        for row, ((gpa, count), place) in enumerate(zip(runs, reported(runs), strict=True))
        if place is not None
        for page in range(count)
    }
    found: set[tuple[int, int]] = set()
    for gfns in gfn_sets:
        gfn_of_each = gfns.each_gfn()
        assert gfns.pages == len(gfn_of_each)
        assert np.array_equal(np.arange(gfns.slot.count)[gfns.selection], gfn_of_each - gfns.slot.first)
        assert all(reported(runs)[row] == gfns.slot.slot_id for row in gfns.rows)
        found |= set(zip(np.repeat(gfns.rows, gfns.counts).tolist(), gfn_of_each.tolist(), strict=True))
    assert found == wanted


def test_one_address_a_run_becomes_one_a_page() -> None:
    slots = slot_map()
    starts, lengths = columns([(4 * PAGE_SIZE, 2), (0, 1), (8 * PAGE_SIZE, 3)])
    places = slots.locate(starts, lengths)
    gfn_sets = {p.slot.slot_id: p for p in slots.gfn_sets(starts, lengths, np.arange(3), places)}
    ras = np.array([1 << 32, 2 << 32, 3 << 32], np.uint64)
    assert gfn_sets[SlotId(0)].each_address(ras).tolist() == [2 << 32]
    assert gfn_sets[SlotId(5)].each_address(ras).tolist() == [
        *((1 << 32) + page * PAGE_SIZE for page in range(2)),
        *((3 << 32) + page * PAGE_SIZE for page in range(3)),
    ]


@given(gfns, st.integers(0, 30))
def test_a_covered_range_lies_in_slots_page_by_page(gfn: int, count: int) -> None:
    gfn_sets = slot_map().covered(gfn, count)
    in_slots = all(held(page * PAGE_SIZE, 1) is not None for page in range(gfn, gfn + count))
    if not in_slots:
        assert gfn_sets is None
    else:
        assert gfn_sets is not None
        assert [page for gfns in gfn_sets for page in gfns.each_gfn()] == list(range(gfn, gfn + count))


def test_a_range_over_abutting_slots_has_a_gfn_set_in_each() -> None:
    gfn_sets = slot_map().covered(2, 5)
    assert gfn_sets is not None
    assert [(p.slot.slot_id, p.offsets.tolist(), p.counts.tolist()) for p in gfn_sets] == [
        (0, [2], [2]),
        (5, [0], [3]),
    ]


@given(gfns, st.integers(1, 60))
def test_overlapping_finds_a_slot_with_a_common_page(first: int, count: int) -> None:
    slots = slot_map()
    sharing = {
        slot_id
        for slot_id, (start, pages) in SLOTS.items()
        if first < start + pages and start < first + count
    }
    found = slots.overlapping(first, count)
    assert (found.slot_id in sharing) if found else not sharing
    holder = slots.holding(first)
    assert (holder.slot_id if holder else None) == held(first * PAGE_SIZE, 1)


def test_slots_stand_by_descending_first_gfn_and_come_and_go() -> None:
    slots = slot_map()
    assert [slot.slot_id for slot in slots] == [511, 3, 5, 0]
    assert (len(slots), slots.gfns) == (4, 28)
    middle = slots.get(3)
    assert middle is not None
    slots.remove(middle)
    assert (slots.get(3), len(slots), slots.gfns) == (None, 3, 22)
    assert slots.locate(*columns([(20 * PAGE_SIZE, 1), (0, 1)])).tolist() == [NOT_FOUND, 0]
    for slot in slots:
        slots.remove(slot)
    assert slots.locate(*columns([(0, 1)])).tolist() == [NOT_FOUND]
    assert (len(slots), slots.gfns, slots.holding(0)) == (0, 0, None)


def test_slots_may_leave_while_one_goes_through_them() -> None:
    slots = slot_map()
    for slot in slots:
        slots.remove(slot)
    assert not len(slots)


@pytest.mark.parametrize("chosen", [slice(2, 5), np.array([2, 3, 4])], ids=["slice", "indexes"])
def test_marks_are_bits_of_their_own(chosen: slice) -> None:
    slot = Slot(SlotId(0), Gfn(100), 8)
    slot.mark(slice(None), 0x80)
    slot.mark(chosen, 1)
    assert slot.marked(slice(None), 1).tolist() == [place in {2, 3, 4} for place in range(8)]
    assert slot.marked(chosen, 1).tolist() == [True] * 3
    slot.unmark(chosen, 0x80)
    assert slot.marks.tolist() == [0x80, 0x80, 1, 1, 1, 0x80, 0x80, 0x80]
    assert slot.column_bytes == 16


def test_a_digest_tells_every_column_and_the_place_of_a_slot() -> None:
    def digest(slot_id: int = 0, first: int = 0, state: int = 0, mark: int = 0) -> bytes:
        slot = Slot(SlotId(slot_id), Gfn(first), 8)
        slot.state[3], slot.marks[3] = state, mark
        sink = hashlib.blake2b()
        slot.digest_into(sink)
        return sink.digest()

    digests = [digest(), digest(slot_id=1), digest(first=1), digest(state=1), digest(mark=1)]
    assert len({*digests}) == 5
    assert digest() == digests[0]


def test_a_mask_as_a_gfn_set_and_one_run_as_a_gfn_set() -> None:
    slot = Slot(SlotId(0), Gfn(100), 8)
    assert gfn_set_where(slot, np.zeros(8, np.bool_)) is None
    gfns = gfn_set_where(slot, np.array([0, 1, 1, 0, 0, 0, 1, 0], np.bool_))
    assert gfns is not None
    assert gfns.each_gfn().tolist() == [101, 102, 106]
    assert gfn_set_of(slot, 3, 2).each_gfn().tolist() == [103, 104]


def test_a_mask_picks_gfns_that_keep_their_rows() -> None:
    slot = Slot(SlotId(0), Gfn(100), 16)
    gfns = GfnSet(slot, np.array([4, 7]), np.array([0, 8]), np.array([3, 4]))
    picked = gfns.where(np.array([1, 0, 1, 1, 1, 0, 0], np.bool_))
    assert picked.rows.tolist() == [4, 4, 7]
    assert picked.offsets.tolist() == [0, 2, 8]
    assert picked.counts.tolist() == [1, 1, 2]
    assert gfns.where(np.ones(7, np.bool_)) is gfns
    assert gfns.where(np.zeros(7, np.bool_)).pages == 0


def test_neighbours_of_two_rows_stay_two_runs() -> None:
    slot = Slot(SlotId(0), Gfn(100), 16)
    gfns = GfnSet(slot, np.array([0, 1]), np.array([0, 2]), np.array([2, 2]))
    picked = gfns.where(np.array([0, 1, 1, 1], np.bool_))
    assert (picked.rows.tolist(), picked.counts.tolist()) == ([0, 1], [1, 2])
