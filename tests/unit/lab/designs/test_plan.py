"""Where in a VM's memory the guest writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_lab.designs.plan import HOLE, RUNS, SMALLEST_TOUCHED, Plan, Run, plan_touched
from pef_lab.designs.run import SOME_PUBLIC_KEY, image_for
from pef_lab.failures import WrongInput
from pef_protocol.quantities import PAGE_SIZE, pages_in

MIB = 1 << 20
IMAGE = image_for(16 * MIB, SOME_PUBLIC_KEY)
sizes = st.one_of(st.integers(16, 64).map(lambda n: n * MIB), st.integers(700, 4000).map(lambda n: n * MIB))


def gfns(runs: tuple[Run, ...]) -> list[int]:
    return [gfn for run in runs for gfn in range(run.first, run.first + run.count)]


@given(sizes, st.integers(SMALLEST_TOUCHED, 8 * MIB))
def test_touched_pages_lie_beside_image_and_reservations(size: int, touched: int) -> None:
    try:
        plan = plan_touched(size, touched, IMAGE)
    except WrongInput:
        assert touched > size // 8
        return
    used = gfns(plan.touched) + gfns(plan.fresh)
    assert len(used) == len(set(used)) == pages_in(touched) + RUNS
    taken = {
        gfn
        for piece in IMAGE.layout
        for gfn in range(piece.gpa >> 16, (piece.gpa + len(piece.content)) >> 16)
    }
    firmware = min(size, 768 * MIB)
    taken |= set(range((firmware - HOLE) >> 16, firmware >> 16))
    assert not taken & set(used)
    assert max(used) < size // PAGE_SIZE


@given(sizes)
def test_every_page_with_a_part_to_play_is_touched_and_none_plays_two(size: int) -> None:
    plan = plan_touched(size, 2 * MIB, IMAGE)
    special = [plan.shared, plan.shared_after_out, plan.invalidated, *gfns(plan.sampled)]
    assert len(special) == len(set(special))
    assert set(special) <= set(gfns(plan.touched))
    assert set(gfns(plan.private)) == set(gfns(plan.touched)) - {plan.shared_after_out, plan.invalidated}


def test_runs_are_spread_over_the_whole_memory() -> None:
    plan = plan_touched(1024 * MIB, 2 * MIB, IMAGE)
    places = [run.first * PAGE_SIZE // (128 * MIB) for run in plan.touched]
    assert places == list(range(RUNS))


@pytest.mark.parametrize("touched", [1, SMALLEST_TOUCHED - PAGE_SIZE, 60 * MIB])
def test_too_little_or_too_much_is_refused(touched: int) -> None:
    with pytest.raises(WrongInput, match="--touched"):
        plan_touched(64 * MIB, touched, IMAGE)


def test_a_vm_that_is_too_small_is_refused() -> None:
    with pytest.raises(WrongInput, match="--size"):
        image_for(1 * MIB, SOME_PUBLIC_KEY)


def test_a_run_comes_in_parts_of_bounded_size() -> None:
    assert list(Run(5, 7).parts(3 * PAGE_SIZE)) == [Run(5, 3), Run(8, 3), Run(11, 1)]
    assert isinstance(plan_touched(64 * MIB, 2 * MIB, IMAGE), Plan)
