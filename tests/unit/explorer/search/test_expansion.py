"""What the search leaves out makes no difference: shown on still states that it comes to.

| left out | shown |
|---|---|
| an action on one GFN from every still state | it leads to as much, whatever the others are |
| the other order of two steps on different GFNs | both orders lead to the same state |
| paging out beside a guest's call | it is a host read by somebody else |
| marks by which nothing is decided | states that differ in them alone go on alike |
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from itertools import product
from typing import Any

import pytest

from pef_explorer.actions.move import GO_ON, GUESTS, MEMORY, VM, VMM, Move
from pef_explorer.actions.table import ACTIONS, PAGE_OUT
from pef_explorer.invariants import broken
from pef_explorer.plan import Part, Plan
from pef_explorer.search.expansion import Expansion
from pef_explorer.search.graph import Graph, digest_of
from pef_explorer.search.search import FIRST, Search, Violation, _conditions, _violations
from pef_explorer.world.possible_moves import possible_moves
from pef_explorer.world.quiescence import rest
from pef_explorer.world.records import SettledState
from pef_explorer.world.state_key import shape_of
from pef_explorer.world.step import Step
from pef_explorer.world.world import World
from pef_mutants.registry import MUTANTS
from pef_protocol.designs import Design
from pef_ultravisor.gfn.columns import FRAME_POPULATED, REFERENCED

PAIRS = 12
"""Conditions, each in two still states that differ elsewhere."""
STEPS = 3
"""How far each of two open calls is taken before the next step of both is made in both orders."""


@cache
def quiescent_states(mutant: str, count: int = 400) -> tuple[Plan, list[SettledState]]:
    """Return a plan of two GFNs, and quiet states of it: those that calls lead to which are made alone.

    They are those of the code as it is, with `mutant` in it.
    """
    plan = Plan(Design.TRACKED, (Part.BROUGHT, Part.UNMIGRATED), plug=0)
    world, known, stills = World(plan), set[Any](), list[SettledState]()
    rest(world)
    stills.append(world.saved())
    for settled in stills:
        world.put_back(settled)
        for start in [move for move, _ in possible_moves(world)]:
            world.put_back(settled)
            to_its_end(world, start)
            rest(world)
            if world.key() not in known and len(stills) < count:
                known.add(world.key())
                stills.append(world.saved())
    return plan, stills


def to_its_end(world: World, start: Move) -> None:
    """Make an action alone, a UV_ESM with all its phases."""
    ended = world.do(start)
    while ended is None:
        ended = world.do(start if world.suspended else Move(start.actor, GO_ON))


def secure_states(count: int) -> tuple[World, list[SettledState]]:
    """Return quiet states of a secure VM, as different as they come."""
    plan, stills = quiescent_states("")
    world, secure = World(plan), dict[Any, SettledState]()
    for settled in stills:
        world.put_back(settled)
        if world.oracle.secure:
            secure.setdefault((world.now.uv, world.now.hv), settled)
    assert len(secure) >= count
    return world, list(secure.values())[:count]


# One GFN alone


def in_a_scope(
    world: World, settled: SettledState, scope: int
) -> tuple[list[tuple[Move, ...]], list[Violation], int]:
    """Explore what can happen in a scope; return where it ends, what falls, and how many moves were made."""
    world.put_back(settled)
    graph = Graph()
    graph.number(("settled", world.key()))
    expansion = Expansion(world, settled, scope, graph)
    expansion.explore(FIRST, 0)
    paths = graph.paths()
    return (
        [paths.to(each) for each in sorted(graph.settled)],
        _violations(world.plan, graph),
        expansion.transitions,
    )


def applied(world: World, settled: SettledState, ends: list[tuple[Move, ...]]) -> set[Any]:
    """Return the still states that the search would go on from."""
    keys = set()
    for moves in ends:
        world.put_back(settled)
        for move in moves:
            world.do(move)
        rest(world)
        keys.add(world.key())
    return keys


def is_sound(world: World, settled: SettledState) -> bool:
    """Tell whether nothing is broken yet: what is, is told again after each step."""
    world.put_back(settled)
    step = Step(Move(VMM, GO_ON), world.now, world.now, None, "", quiescent=True, world=world)
    return not broken(step, frozenset())


def alike_in_a_scope(
    world: World, stills: list[SettledState]
) -> Iterator[tuple[int, SettledState, SettledState]]:
    """Yield scopes with two still states that share their condition and differ elsewhere."""
    known: dict[bytes, dict[Any, tuple[int, SettledState]]] = defaultdict(dict)
    search = Search(world.plan)
    for settled in stills:
        for scope in search._scopes(world, settled):
            world.put_back(settled)
            condition = digest_of((scope, [*_conditions(world, scope)]))
            known[condition].setdefault(world.key(), (scope, settled))
    for states in known.values():
        if len(states) > 1:
            (scope, first), *_, (_, last) = states.values()
            yield scope, first, last


@pytest.mark.verify
@pytest.mark.parametrize("mutant", ["", "D6"])
def test_what_can_happen_to_a_gfn_does_not_depend_on_the_others(mutant: str) -> None:
    with MUTANTS[mutant].applied() if mutant else nullcontext():
        plan, stills = quiescent_states(mutant)
        world = World(plan)
        found = [*alike_in_a_scope(world, [settled for settled in stills if is_sound(world, settled)])]
        alike = found[:: len(found) // PAIRS]
        assert len(alike) >= PAIRS
        assert len({scope for scope, _, _ in alike}) > 2
        sizes, add_breach = set(), 0
        for scope, one, other in alike:
            ends, violations, moves = in_a_scope(world, one, scope)
            own_ends, own_falls, own_moves = in_a_scope(world, other, scope)
            assert (own_falls, own_moves) == (violations, moves)
            assert applied(world, other, ends) == applied(world, other, own_ends)
            sizes.add(moves)
            add_breach += len(violations)
    assert len(sizes) > 3
    assert (add_breach > 0) == bool(mutant)


# Two GFNs


def pairs_of_calls() -> Iterator[tuple[Move, Move]]:
    """Yield actions of two actors, one on GFN 0, the other on GFN 1."""
    names = {
        GUESTS[0]: ("load", "store", "share", "unshare"),
        VMM: ("host read", "host write"),
        MEMORY: ("page out", "unmap"),
    }
    moves = [Move(actor, name) for actor in names for name in names[actor]]
    for first, second in product(moves, moves):
        if first.actor != second.actor:
            yield first._replace(gfn=0), second._replace(gfn=1)


def after(world: World, settled: SettledState, moves: list[Move]) -> tuple[Any, ...] | None:
    """Return the state after `moves` and how they ended; None where a move can't be made."""
    world.put_back(settled)
    words = []
    for move in moves:
        if move.action == GO_ON:
            if move.actor not in world.open:
                return None
        elif not ACTIONS[move.action].may_be(world, move.gfn):
            return None
        ended = world.do(move)
        words.append((move, ended.word) if ended else (move, ""))
    return world.key(), world.now.normal, sorted(words)


def test_steps_on_different_gfns_lead_to_the_same_state_in_either_order() -> None:
    world, stills = secure_states(3)
    compared = 0
    for settled, (one, other) in product(stills, pairs_of_calls()):
        for far, near in product(range(STEPS), repeat=2):
            go_on = Move(one.actor, GO_ON), Move(other.actor, GO_ON)
            begun = [one, *[go_on[0]] * far, other, *[go_on[1]] * near]
            seen = after(world, settled, [*begun, *go_on])
            if seen is None:
                break
            assert after(world, settled, [*begun, *reversed(go_on)]) == seen, (one, other, far, near)
            compared += 1
    assert compared > 100


# Twins


@pytest.mark.parametrize("action", ["share", "unshare", "unshare all"])
def test_paging_out_beside_a_call_of_the_guest_is_a_host_read_by_somebody_else(action: str) -> None:
    world, stills = secure_states(5)
    compared = 0
    for settled, far in product(stills, range(STEPS)):
        gfn = VM if action == "unshare all" else 0
        ends: list[Any] = []
        for actor, duplicate in ((VMM, "host read"), (MEMORY, PAGE_OUT)):
            guest, other = Move(GUESTS[0], GO_ON), Move(actor, GO_ON)
            moves = [
                Move(GUESTS[0], action, gfn),
                *[guest] * far,
                Move(actor, duplicate, 0),
                other,
                guest,
                other,
            ]
            seen = after(world, settled, moves)
            ends.append(seen and (shape_of(world.now), world.now.normal, [word for _, word in seen[-1]]))
        assert ends[0] == ends[1], (action, far)
        compared += ends[0] is not None
    assert compared


# Marks


def mark_all(world: World) -> None:
    """Turn the marks around that decide nothing: a frame may always be called filled."""
    assert world.system.svm is not None
    for slot in world.system.svm.slots:
        slot.marks[:] ^= REFERENCED
        slot.mark(slice(None), FRAME_POPULATED)
    world._now = None


def lives(world: World, settled: SettledState, start: Move, *, marked: bool) -> list[Any]:
    """Begin an action and let it end; return every state on the way, and what might be done in it."""
    world.put_back(settled)
    if marked:
        mark_all(world)
    states: list[Any] = [world.key(), world.now.normal, [*possible_moves(world)]]
    move, ended = start, world.do(start)
    for _ in range(60):
        states += [move, ended, world.key(), world.now.normal, [*possible_moves(world)]]
        if ended is not None or not world.open:
            return states
        move = Move(start.actor, GO_ON)
        ended = world.do(move)
    raise AssertionError(start)


def test_states_that_differ_in_inert_marks_alone_go_on_alike() -> None:
    world, stills = secure_states(8)
    for settled in stills:
        world.put_back(settled)
        before, starts = world.now, [move for move, _ in possible_moves(world)]
        mark_all(world)
        assert world.now.uv_marks != before.uv_marks
        assert len(starts) > 10
        for start in starts:
            assert lives(world, settled, start, marked=True) == lives(world, settled, start, marked=False)
