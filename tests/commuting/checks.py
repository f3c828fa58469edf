"""What the tests find out: what a call changes and depends on, where calls do not commute, how a VM ends."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, repeat
from typing import Any, NamedTuple

from commuting.calls import (
    MOST_STEPS,
    OF_ACTORS,
    WHOLE,
    Call,
    Page,
    condition,
    pages_of,
    possible,
    run_alone,
    run_together,
    steps,
    vm_of,
)
from pef_explorer.actions.move import GUESTS, MEMORY, VM, VMM
from pef_explorer.actions.table import ACTIONS, ESM_FAILS, UV_ESM
from pef_explorer.plan import Plan
from pef_explorer.world.records import SettledState
from pef_explorer.world.world import World

PLUGS = ("hot-add", "hot-remove")
PAIRS = ((GUESTS[0], VMM), (GUESTS[0], MEMORY), (MEMORY, VMM))


class Comparison(NamedTuple):
    """How many runs there were, and a sentence for each that was not as it should be."""

    runs: int
    wrong: list[str]


def local(plan: Plan, settled: Sequence[SettledState]) -> Comparison:
    """Run each call on one GFN alone, and look after each step at what it changed and depends on.

    Wrong is a step that changes another GFN; and two calls from one condition of their GFN that differ in a
    step, in what the GFN became or in their word, though all else in the VM was different.
    """
    world, wrong, runs = World(plan), [], 0
    known: dict[Any, tuple[tuple[Page, str], ...]] = {}
    for each in settled:
        for call in calls(world, each):
            world.put_back(each)
            before, start = pages_of(world), (condition(world, call.gfn), call.action)
            shape, trace = pages_of(world)[call.gfn], []
            for word in steps(world, call):
                now = pages_of(world)
                trace.append((now[call.gfn], word))
                wrong += [
                    f"{call} changed GFN {gfn}"
                    for gfn in range(plan.pages)
                    if gfn != call.gfn and now[gfn] != before[gfn]
                ]
            runs += 1
            like = known.setdefault(start, tuple(map(_without_bytes, trace)))
            if like != tuple(map(_without_bytes, trace)):
                wrong.append(f"{call} from {shape}: {trace} is not {like}")
    return Comparison(runs, wrong)


def _without_bytes(step: tuple[Page, str]) -> tuple[Page, str]:
    """Return a step with no bytes but whether there are any: a token has the GFN that it is for."""
    page, word = step
    filled = page._replace(normal=b"x" * any(page.normal), frame=b"x" * any(page.frame))
    return filled, word


def calls(world: World, settled: SettledState) -> list[Call]:
    """Return every call on one GFN that is possible in a settled state."""
    world.put_back(settled)
    return [call for actor in OF_ACTORS for call in possible(world, actor)]


def schedules(plan_steps: int) -> Iterator[Iterator[int]]:
    """Yield schedules of two calls: one first, the other first, in turn, and one cut after each step."""
    yield chain(repeat(1, MOST_STEPS), repeat(0))
    yield cycle((0, 1))
    yield cycle((1, 0))
    yield cycle((0, 0, 1))
    for cut in range(1, plan_steps):
        yield chain(repeat(0, cut), repeat(1, MOST_STEPS), repeat(0))


def commuting(plan: Plan, settled: Sequence[SettledState]) -> Comparison:
    """Run each two calls on different GFNs in every schedule; compare words, pages and counts."""
    world, wrong, runs = World(plan), [], 0
    for each in settled:
        for pair in _pairs(world, each):
            world.put_back(each)
            length = sum(1 for _ in steps(world, pair[0]))
            expected = _end(world, each, pair, chain(repeat(0, MOST_STEPS), repeat(1)))
            runs += 1
            for turns in schedules(length):
                end = _end(world, each, pair, turns)
                runs += 1
                if end != expected:
                    wrong.append(f"{pair}: {end} is not {expected}")
    return Comparison(runs, wrong)


def _pairs(world: World, settled: SettledState) -> list[tuple[Call, Call]]:
    """Return the pairs of calls, of two actors, whose footprints have nothing in common."""
    world.put_back(settled)
    plugs = [
        Call(VMM, action, VM) for action in PLUGS if world.plan.plug and ACTIONS[action].may_be(world, VM)
    ]
    return [
        (one, other)
        for first, second in PAIRS
        for one in possible(world, first)
        for other in [*possible(world, second), *(plugs if second == VMM else ())]
        if not _footprint(world.plan, one) & _footprint(world.plan, other)
    ]


def _footprint(plan: Plan, call: Call) -> frozenset[int]:
    return ACTIONS[call.action].footprint(plan, call.gfn)


def _end(
    world: World, settled: SettledState, pair: tuple[Call, Call], turns: Iterator[int]
) -> tuple[object, ...]:
    world.put_back(settled)
    return run_together(world, pair, turns), pages_of(world), vm_of(world.now)


Ends = dict[tuple[int, str, Any], set[tuple[str, Any]]]


def ends_of_whole(plan: Plan, settled: Sequence[SettledState]) -> Ends:
    """Return how calls on the whole VM end: by GFN, action and condition, word and condition after."""
    world, ends = World(plan), defaultdict(set)
    for each in settled:
        for action in WHOLE:
            world.put_back(each)
            if not _may_be(world, action):
                continue
            before = [condition(world, gfn) for gfn in range(plan.pages)]
            actor = VMM if action == "reset" else GUESTS[0]
            word = run_alone(world, Call(actor, action, VM))
            for gfn, start in enumerate(before):
                ends[gfn, action, start].add((word, condition(world, gfn)))
    return ends


def _may_be(world: World, action: str) -> bool:
    if action in {UV_ESM, ESM_FAILS}:
        return world.system.svm is None and world.system.entering is None and not world.oracle.secure
    return ACTIONS[action].may_be(world, VM)
