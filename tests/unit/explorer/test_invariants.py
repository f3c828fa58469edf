"""Each invariant can fall: a sound step of a small secure VM, changed in one place, breaks it.

Source: attacks.md (the ten), the life-cycle tables, and issue 3.
"""

from typing import Any

import pytest

from harness.broken_steps import CASES, Change, a_step, done, seen
from pef_explorer.actions.move import GUESTS, MEMORY, VMM
from pef_explorer.actions.oracle import ZERO
from pef_explorer.actions.table import UV_ESM
from pef_explorer.invariants import EVERY_CALL_ENDS, INVARIANTS, broken
from pef_explorer.plan import Part, Plan
from pef_explorer.world.world import World
from pef_protocol.designs import Design

INVARIANT = {each.__name__: each for each in INVARIANTS}


def changes(kind: str) -> list[Any]:
    """Return every change of that kind with its invariant, as parameters."""
    return [
        pytest.param(name, change, id=f"{name}-{number}")
        for name, case in CASES.items()
        for number, change in enumerate(getattr(case, kind))
    ]


def test_every_invariant_has_a_case() -> None:
    assert [*CASES] == [*INVARIANT]
    assert EVERY_CALL_ENDS not in INVARIANT
    assert all(each.__doc__ for each in INVARIANTS)


@pytest.mark.parametrize("design", [Design.TRACKED, Design.TRACKED_PAGEIN])
def test_a_sound_step_breaks_nothing(design: Design) -> None:
    assert broken(a_step(design), frozenset()) == []


@pytest.mark.parametrize(("name", "change"), changes("breaking"))
def test_an_invariant_falls(name: str, change: Change) -> None:
    reported = [*INVARIANT[name](change(a_step()))]
    assert reported
    assert all(sentence and sentence[-1] != "." for sentence in reported)


@pytest.mark.parametrize(("name", "change"), changes("spares"))
def test_what_is_allowed_is_not_told(name: str, change: Change) -> None:
    assert [*INVARIANT[name](change(a_step()))] == []


@pytest.mark.parametrize("name", ["the_tables_agree", "what_is_asked_succeeds"])
def test_what_a_tampered_message_brought_about_is_not_held_against_the_tables(name: str) -> None:
    step = CASES[name].breaking[0](a_step())
    step.world.faulty = True
    assert [*INVARIANT[name](step)] == []


def test_what_is_ignored_is_left_out() -> None:
    step = seen(a_step(), mapped=(1, 1))
    reported = {name for name, _ in broken(step, frozenset())}
    assert reported == {"a_real_address_backs_one_gfn", "nothing_maps_a_page_taken_away"}
    assert {name for name, _ in broken(step, frozenset({"a_real_address_backs_one_gfn"}))} == {
        "nothing_maps_a_page_taken_away"
    }


def test_what_the_host_does_to_a_shared_page_is_no_breach() -> None:
    """A walk of sound steps: shared, taken away, brought back, written by the host, unshared, out and in."""
    world = World(Plan(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), plug=0))
    done(world, GUESTS[0], UV_ESM)
    walk = [
        (GUESTS[0], "share", 0),
        (MEMORY, "unmap", 0),
        (GUESTS[0], "store", 0),
        (VMM, "host write", 0),
        (GUESTS[0], "load", 0),
        (GUESTS[0], "unshare", 0),
        (MEMORY, "page out", 0),
        (GUESTS[0], "load", 0),
    ]
    words = []
    for actor, action, gfn in walk:
        world.put_back(world.saved())
        ended = (step := done(world, actor, action, gfn)).ended
        assert broken(step, frozenset()) == [], (action, gfn)
        words.append(ended.word if ended else "")
    assert words[4] == "as written"
    assert words[-1] == "zero"
    assert world.oracle.may[0] == {ZERO}
