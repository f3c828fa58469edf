"""What is done to whole slots is done in bounded parts, with a turn for everybody else between two."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.linked import run_now
from pef_kit.core import parts
from pef_kit.core.columns import GfnSet, Slot, gfn_set_of
from pef_kit.core.effects import Effect, Operation, Turn
from pef_kit.core.parts import batches, copied, part_by_part, set_by_set
from pef_protocol.quantities import Gfn, SlotId

PART = 5
SIZES = st.lists(st.integers(1, 3 * PART), max_size=5)


@pytest.fixture(autouse=True)
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART", PART)
        yield


def slots_of(sizes: list[int]) -> list[Slot]:
    """Return slots of so many GFNs, with a state and marks that tell each GFN from the next."""
    slots = [Slot(SlotId(number), Gfn(100 * number), size) for number, size in enumerate(sizes)]
    for slot in slots:
        slot.state[:] = np.arange(slot.count) % 3
        slot.marks[:] = np.arange(slot.count) % 4
    return slots


@given(sizes=SIZES)
def test_batches_are_every_gfn_once_and_of_bounded_size(sizes: list[int]) -> None:
    slots = slots_of(sizes)
    seen = [
        [(slot.slot_id, at) for slot, part in batch for at in range(part.start, part.stop)]
        for batch in batches(slots)
    ]
    assert all(len(batch) == PART for batch in seen[:-1])
    assert all(0 < len(batch) <= PART for batch in seen)
    together = [gfn for batch in seen for gfn in batch]
    assert together == [(slot.slot_id, at) for slot in slots for at in range(slot.count)]


@given(sizes=SIZES)
def test_others_have_a_turn_between_two_batches(sizes: list[int]) -> None:
    done: list[int] = []
    pages_at_turn: list[int] = []

    def perform(effect: Effect) -> None:
        assert isinstance(effect, Turn)
        pages_at_turn.append(sum(done))

    run_now(part_by_part(slots_of(sizes), lambda _, part: done.append(part.stop - part.start)), perform)
    assert sum(done) == sum(sizes)
    assert pages_at_turn == list(range(PART, sum(sizes), PART))


@given(sizes=SIZES)
def test_a_copy_is_the_slot_and_stays_what_it_was(sizes: list[int]) -> None:
    slots = slots_of(sizes)
    before = [(slot.state.tobytes(), slot.marks.tobytes()) for slot in slots]
    copies = run_now(copied(slots), lambda _: None)
    for slot in slots:
        slot.state.fill(7)
        slot.marks.fill(7)
    assert [(each.state.tobytes(), each.marks.tobytes()) for each in copies] == before
    assert [(each.slot_id, each.first, each.count) for each in copies] == [
        (slot.slot_id, slot.first, slot.count) for slot in slots
    ]


@given(states=st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_runs_are_the_states(states: list[int]) -> None:
    slot = Slot(SlotId(0), Gfn(0), len(states))
    slot.state[:] = states
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pef_kit.core.columns.BLOCK", 3)
        firsts, counts = slot.runs()
    assert np.repeat(slot.state[firsts], counts).tolist() == states
    assert (np.diff(slot.state[firsts].astype(int)) != 0).all()


@given(sizes=st.lists(st.integers(1, PART), max_size=8))
def test_sets_have_a_turn_between_them_only_where_they_are_many(sizes: list[int]) -> None:
    slot = Slot(SlotId(0), Gfn(0), PART)
    since_a_turn: list[int] = [0]

    def perform(effect: Effect) -> None:
        assert isinstance(effect, Turn)
        since_a_turn.append(0)

    def do(gfns: GfnSet[Slot]) -> Operation[int]:
        since_a_turn[-1] += gfns.pages
        yield from ()
        return gfns.pages

    assert run_now(set_by_set([gfn_set_of(slot, 0, size) for size in sizes], do), perform) == sizes
    assert sum(since_a_turn) == sum(sizes)
    assert max(since_a_turn) <= PART
    assert all(first + second > PART for first, second in pairwise(since_a_turn))
