"""A fall as a counterexample: its moves made once more, and told as the steps that anybody could watch.

Three things that the search keeps apart are one step to whoever watches: the phases of a UV_ESM follow each
other at once, the stores by which the guest fills its pages are actions like any other, and after the breach
whatever is open is let end, and guest and host look at every page.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pef_explorer.actions.move import GO_ON, GUESTS, VM, VMM, Move
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.invariants import EVERY_CALL_ENDS, broken
from pef_explorer.plan import Plan
from pef_explorer.search.expansion import NO_ANSWER
from pef_explorer.search.search import Fall
from pef_explorer.world.observation import ABSENT
from pef_explorer.world.quiescence import settle_contents
from pef_explorer.world.records import Ending
from pef_explorer.world.step import make
from pef_explorer.world.world import World
from pef_protocol.states import HvGfnState, UvGfnState

FORMAT: Final = "pef-counterexample/1"
NOTHING: Final = "nothing"
PATIENT: Final = 400
"""Steps that open calls get to end in, once the breach is there."""


@dataclass(slots=True)
class Telling:
    """A world, and the steps that were made in it so far."""

    world: World
    steps: list[dict[str, Any]] = field(default_factory=list)
    esm: dict[str, int] = field(default_factory=dict)
    """The step at which each vCPU began its UV_ESM, and the last one that it made."""
    last: dict[str, int] = field(default_factory=dict)

    def make(self, move: Move) -> Ending | None:
        """Make a move and tell of it; a phase that follows another is told with the step before."""
        going_on = self.world.parked is not None and move.does in {UV_ESM, ESM_FAILS}
        ended = self.world.do(move)
        if not self.world.open and self.world.parked is None:
            settle_contents(self.world, lenient=False)
        then = self._then(move.actor, ended)
        if going_on:
            self.steps[self.last[move.actor]]["then"] = then
            if move.does == ESM_FAILS:
                self.steps[self.esm[move.actor]]["does"] = ESM_FAILS
            return ended
        if move.does == UV_ESM:
            self.esm[move.actor] = len(self.steps)
        self.last[move.actor] = len(self.steps)
        gfn = None if move.gfn == VM else move.gfn
        fault = move.fault.value if move.fault else None
        told = {"actor": move.actor, "does": move.does, "gfn": gfn, "fault": fault, "then": then}
        self.steps.append(told)
        return ended

    def _then(self, actor: str, ended: Ending | None) -> str:
        if ended is not None:
            return f"ends {ended.word}"
        each = self.world.open.get(actor)
        return each.call.told() if each else "parked"

    def let_end(self) -> bool:
        """Let whatever is open end; tell whether it did."""
        for _ in range(PATIENT):
            if self.world.parked is not None:
                self.make(Move(next(iter(self.esm)), UV_ESM))
            elif self.world.open:
                self.make(Move(min(self.world.open), GO_ON))
            else:
                return True
        return False


def counterexample(
    plan: Plan, fall: Fall, command: str, commit: str, mutant: str | None = None
) -> dict[str, Any]:
    """Return a fall as the content of a counterexample file."""
    telling = Telling(World(plan))
    world = telling.world
    for move in trimmed(plan, fall).moves:
        telling.make(move)
    violated_after, tables = len(telling.steps), tables_of(world)
    looks: dict[str, dict[str, str]] = {}
    if fall.invariant != EVERY_CALL_ENDS and telling.let_end():
        looks = looks_of(telling)
    return {
        "format": FORMAT,
        "title": f"{plan.design}: {fall.invariant.replace('_', ' ')}",
        "design": plan.design.value,
        "mutant": mutant,
        "invariant": fall.invariant,
        "sentence": fall.sentence,
        "found_by": {"command": command, "commit": commit},
        "system": {"image": [part.value for part in plan.image], "plug": plan.plug, "vcpus": plan.vcpus},
        "steps": telling.steps,
        "violated_after": violated_after,
        "tables": tables,
        "looks": looks,
    }


def trimmed(plan: Plan, fall: Fall) -> Fall:
    """Return the fall without the stores that it does not need."""
    for at in range(len(fall.moves) - 1, -1, -1):
        if fall.moves[at].does == "store":
            shorter = fall._replace(moves=_without(fall.moves, at))
            if comes_again(plan, shorter):
                fall = shorter
    return fall


def _without(moves: tuple[Move, ...], at: int) -> tuple[Move, ...]:
    """Return the moves without the action that begins at `at`."""
    actor, end = moves[at].actor, at + 1
    dropped = {at}
    while end < len(moves) and (moves[end].actor != actor or moves[end].does == GO_ON):
        if moves[end].actor == actor:
            dropped.add(end)
        end += 1
    return tuple(move for place, move in enumerate(moves) if place not in dropped)


def comes_again(plan: Plan, fall: Fall) -> bool:
    """Tell whether the moves of a fall break its invariant with their last one."""
    world = World(plan)
    step = None
    try:
        for move in fall.moves:
            if not world.open:
                settle_contents(world)
                world.put_back(world.still())
            step = make(world, move)
    except Exception as failure:  # noqa: BLE001 - moves that can't be made, or the fall that is looked for
        return fall.invariant == NO_ANSWER and not isinstance(failure, KeyError)
    if step is None or fall.invariant == EVERY_CALL_ENDS:
        return step is not None and bool(world.open)
    return any(invariant == fall.invariant for invariant, _ in broken(step, frozenset()))


def tables_of(world: World) -> dict[str, list[str]]:
    """Return what each side says of each GFN."""
    ours, theirs = world.now.hv, world.now.uv
    return {
        str(gfn): [
            NOTHING if ours[gfn] == ABSENT else HvGfnState(ours[gfn]).name,
            NOTHING if theirs[gfn] == ABSENT else UvGfnState(theirs[gfn]).name,
        ]
        for gfn in range(world.plan.pages)
    }


def looks_of(telling: Telling) -> dict[str, dict[str, str]]:
    """Have the guest load each page, and then the host read it; return what they found."""
    found: dict[str, dict[str, str]] = {}
    for gfn in _there(telling.world):
        guest = _look(telling.world, Move(GUESTS[0], "load", gfn))
        found[str(gfn)] = {"guest": guest, "host": ""}
    for gfn in _there(telling.world):
        found[str(gfn)]["host"] = _look(telling.world, Move(VMM, "host read", gfn))
    return found


def _there(world: World) -> Iterator[int]:
    yield from (gfn for gfn in range(world.plan.pages) if world.system.normal_page(gfn) is not None)


def _look(world: World, move: Move) -> str:
    ended = world.do(move)
    while ended is None:
        ended = world.do(Move(move.actor, GO_ON))
    return ended.word if ended.word in {"as written", "zero", "other"} else "refused"
