"""The search: the same whoever runs it; stopped and gone on with; and what it finds of the designs."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest

from pef_explorer.actions.move import GO_ON, GUESTS, VM, Move
from pef_explorer.actions.table import UV_ESM
from pef_explorer.engines import Engine, InProcess, Processes
from pef_explorer.plan import IMAGES, Part, Plan
from pef_explorer.search.counterexample import comes_again
from pef_explorer.search.exploration import Bounds, Row, explore
from pef_explorer.search.search import Found, Progress, Search
from pef_explorer.world.quiescence import rest
from pef_explorer.world.world import World
from pef_protocol.designs import Design, DesignName

SMALL = Plan(Design.TRACKED, (Part.SHARED,), plug=0)
VIOLATIONS = Plan(Design.PUSHED_VALID, (Part.SHARED,), plug=0)
COMPARED = (Design.TRACKED, Design.BROKEN)


def to_the_end(_: Progress) -> bool:
    return False


def until(transitions: int) -> Callable[[Progress], bool]:
    return lambda progress: progress.transitions >= transitions


def searched(plan: Plan, stop: Callable[[Progress], bool] = to_the_end) -> Found:
    """Return what a new search of `plan` finds."""
    search = Search(plan)
    search.go_on(stop)
    return search.found()


@cache
def whole(plan: Plan) -> Found:
    """Return what a search of `plan` finds that was never stopped."""
    return searched(plan)


def explored(engine: Engine, bounds: Bounds, designs: Sequence[Design] = COMPARED) -> list[Row]:
    """Return the rows of designs, without the seconds that they took."""
    with engine:
        rows = [*explore(engine, designs, bounds, lambda *_: None, None)]
    return [replace(row, seconds=0) for row in rows]


@pytest.fixture(scope="module")
def with_one_gfn() -> dict[DesignName, Row]:
    """Explore designs with one GFN to their end."""
    return {row.design: row for row in explored(Processes(2), Bounds(slots=(1, 0)))}


def test_no_more_messages_go_wrong_than_the_plan_says() -> None:
    search, gfn, esm = Search(replace(SMALL, faults=1)), 0, Move(GUESTS[0], UV_ESM, VM)
    world = World(search.plan)
    ended = world.do(esm)
    while ended is None:
        ended = world.do(esm if world.suspended else Move(GUESTS[0], GO_ON))
    rest(world)
    with_one = world.saved()
    befall = []
    for settled in (with_one, with_one._replace(faults=0)):
        world.put_back(settled)
        ends = search._local(world, settled, gfn).ends
        befall.append({move.fault is not None for moves in ends for move in moves})
    assert befall == [{True, False}, {False}]


@pytest.mark.verify
@pytest.mark.parametrize("plan", [SMALL, VIOLATIONS], ids=["sound", "broken"])
def test_the_same_search_finds_the_same_by_the_same_moves(plan: Plan) -> None:
    first = whole(plan)
    assert first.complete
    assert (first.states > 1000, first.transitions > first.states, first.depth > 20) == (True, True, True)
    assert bool(first.violations) == (plan is VIOLATIONS)
    assert searched(plan) == first


@pytest.mark.verify
@pytest.mark.slow
def test_processes_find_to_the_end_what_one_finds(with_one_gfn: dict[DesignName, Row]) -> None:
    (alone,) = explored(InProcess(), Bounds(slots=(1, 0)), [Design.BROKEN])
    assert alone == with_one_gfn[Design.BROKEN]
    assert (alone.complete, len(alone.violations) > 1) == (True, True)


def test_processes_find_up_to_a_limit_what_one_finds() -> None:
    bounds = Bounds(limit=800)
    alone = explored(InProcess(), bounds)
    assert alone == explored(Processes(2), bounds)
    assert [row.complete for row in alone] == [False, False]
    assert all(800 * len(row.found) <= row.transitions < 1600 * len(row.found) for row in alone)


@pytest.mark.parametrize("at", [1, 50, 777, 2500])
@pytest.mark.verify
def test_a_search_that_was_stopped_and_pickled_ends_as_any_other(at: int) -> None:
    search = Search(VIOLATIONS)
    search.go_on(until(at))
    assert search.found().complete is False
    assert search
    taken_up = pickle.loads(pickle.dumps(search))  # noqa: S301 - our own
    taken_up.go_on(to_the_end)
    assert not taken_up
    assert taken_up.found() == whole(VIOLATIONS)


def test_a_search_that_was_cut_says_so_and_how_far_it_saw_everything() -> None:
    cut, uncut = searched(SMALL, until(1500)), whole(SMALL)
    assert (cut.complete, uncut.complete) == (False, True)
    assert 1500 <= cut.transitions < uncut.transitions
    assert 0 < cut.depth < uncut.depth


def test_a_search_that_is_cut_anywhere_raises_no_alarm_for_that() -> None:
    """Where it is cut, nobody knows what comes: no state is said to lead nowhere."""
    search = Search(SMALL)
    for at in range(1, 1500, 7):
        search.go_on(until(at))
        assert search.progress.transitions >= at
        assert search.found().violations == ()


@pytest.mark.parametrize("at", [100, 1000, 4000])
def test_a_search_stops_in_the_midst_of_an_expansion(at: int) -> None:
    """One expansion of this plan has thousands of transitions; one run has tens."""
    stopped = searched(Plan(Design.TRACKED, (Part.BROUGHT,)), until(at))
    assert at <= stopped.transitions < at + 100


@pytest.mark.verify
def test_a_made_up_refusal_of_any_call_leaves_the_two_in_agreement() -> None:
    found = searched(Plan(Design.TRACKED, (Part.BROUGHT,), calls=1, faults=1))
    assert (found.complete, found.violations) == (True, ())


@pytest.mark.verify
@pytest.mark.parametrize("ignored", ["the_tables_agree", "nothing_maps_a_page_taken_away"])
def test_what_is_ignored_is_not_told(ignored: str) -> None:
    names = {violation.invariant for violation in whole(VIOLATIONS).violations}
    assert names == {"the_tables_agree", "nothing_maps_a_page_taken_away"}
    found = searched(replace(VIOLATIONS, ignored=frozenset({ignored})))
    assert {violation.invariant for violation in found.violations} == names - {ignored}


@pytest.mark.parametrize("design", [Design.BROKEN, Design.EAGER])
@pytest.mark.parametrize("image", IMAGES[2], ids=lambda image: str(image[0].value))
def test_a_page_that_was_never_asked_for_divides_the_tables(design: Design, image: tuple[Part, ...]) -> None:
    plan = Plan(design, image)
    search = Search(plan)
    search.go_on(lambda progress: search.nearest_violation is not None or progress.transitions > 5000)
    violation = search.found().violations[0]
    assert violation.invariant == "the_tables_agree"
    assert comes_again(plan, violation)
    assert not comes_again(replace(plan, design=Design.TRACKED), violation)


@pytest.mark.verify
def test_with_one_gfn_tracked_is_sound_and_broken_falls(with_one_gfn: dict[DesignName, Row]) -> None:
    sound, broken = (with_one_gfn[design] for design in COMPARED)
    assert (sound.complete, sound.violations) == (True, [])
    assert sound.states > 10_000
    assert broken.complete
    assert "the_tables_agree" in [violation.invariant for _, violation in broken.violations]


@pytest.mark.verify
def test_every_fall_comes_again_by_its_moves(with_one_gfn: dict[DesignName, Row]) -> None:
    violations = with_one_gfn[Design.BROKEN].violations
    assert violations
    assert [violation.invariant for plan, violation in violations if not comes_again(plan, violation)] == []
