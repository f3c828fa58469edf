"""Calls that run to their ends in a small system, one after the other or step by step in turn."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pef_explorer.actions.move import GO_ON, GUESTS, MEMORY, VM, VMM, Move
from pef_explorer.actions.table import ACTIONS, ESM_FAILS, UV_ESM
from pef_explorer.machines.small_esm import measured
from pef_explorer.world.observation import Observation
from pef_explorer.world.state_key import INERT, part_of
from pef_explorer.world.world import World

MOST_STEPS: Final = 200
OF_ACTORS: Final = {
    GUESTS[0]: ("load", "store", "share", "unshare"),
    VMM: ("host read", "host write"),
    MEMORY: ("unmap",),
}
"""The actions on a GFN alone, by who makes them; paging out is a host read by another actor."""
WHOLE: Final = (UV_ESM, ESM_FAILS, "unshare all", "reset")


class Call(NamedTuple):
    """An action of an actor on a GFN."""

    actor: str
    action: str
    gfn: int


class Page(NamedTuple):
    """All that both machines keep of a GFN, with every byte by which its pages are known."""

    hv: int
    hv_marks: int
    uv: int
    uv_marks: int
    mapped: bool
    recorded: bool
    normal: bytes
    frame: bytes


def page_of(world: World, gfn: int) -> Page:
    """Return what is observed of a GFN; ciphertext counts as such, for its IV depends on what went before."""
    seen, place = world.now, world.system.normal_page(gfn)
    normal = b"" if place is None else seen.normal[place]
    if normal and normal == world.oracle.sealed[gfn][1]:
        normal = b"ciphertext"
    return Page(
        seen.hv[gfn],
        seen.hv_marks[gfn],
        seen.uv[gfn],
        INERT[seen.uv_marks[gfn]],
        bool(seen.mapped[gfn]),
        seen.recorded[gfn],
        normal,
        seen.frames[gfn],
    )


def pages_of(world: World) -> tuple[Page, ...]:
    """Return what is observed of every GFN."""
    return tuple(page_of(world, gfn) for gfn in range(world.plan.pages))


def vm_of(seen: Observation) -> tuple[object, ...]:
    """Return what is observed of the VM as a whole, the counts of both pools included."""
    return seen.hv_vm, seen.pool, seen.uv_vm, seen.reserved, seen.registered, seen.named


def condition(world: World, gfn: int) -> tuple[object, ...]:
    """Return all that an action on this GFN alone may depend on, as the explorer has it."""
    slot = 0 if gfn < len(world.plan.image) else 1
    return part_of(world.now, world.oracle, gfn, slot, world.system.normal_page(gfn))


def possible(world: World, actor: str) -> Iterator[Call]:
    """Yield the calls of an actor on one GFN that are possible now."""
    for action in OF_ACTORS[actor]:
        for gfn in range(world.plan.pages):
            if ACTIONS[action].may_be(world, gfn):
                yield Call(actor, action, gfn)


def steps(world: World, call: Call) -> Iterator[str]:
    """Begin a call, and go on with it at each turn; yield "" after each step, and its word at the end."""
    move = Move(*call)
    for _ in range(MOST_STEPS):
        ended = world.do(move)
        if ended is not None:
            yield ended.word
            return
        yield ""
        suspended, entering = world.suspended, world.system.entering
        move = Move(call.actor, GO_ON)
        if suspended is not None and entering is not None:
            fails = call.action == ESM_FAILS and entering.failure is None
            fails = fails and entering.steps[entering.place] is measured
            move = Move(call.actor, ESM_FAILS if fails else UV_ESM, VM)
    raise AssertionError(call)


def run_together(world: World, calls: Sequence[Call], turns: Iterator[int]) -> tuple[str, ...]:
    """Run calls to their ends, each turn a step of one; `turns` are their places. Return their words."""
    running = [steps(world, call) for call in calls]
    words = [""] * len(calls)
    for turn in turns:
        if not words[turn]:
            words[turn] = next(running[turn])
        if all(words):
            return tuple(words)
    raise AssertionError(calls)


def run_alone(world: World, call: Call) -> str:
    """Run one call to its end and return its word."""
    return next(word for word in steps(world, call) if word)
