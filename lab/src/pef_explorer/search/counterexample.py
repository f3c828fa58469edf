"""A violation as a counterexample: its moves made once more, and recorded as steps that can be observed.

Three things differ from the search. The phases of a UV_ESM follow each other at once. The stores by which the
guest fills its pages are actions like any other. After the breach all open calls end, and guest and host read
every page.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pef_explorer.actions.move import GO_ON, GUESTS, VM, VMM, Move
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.invariants import EVERY_CALL_ENDS, broken
from pef_explorer.plan import Extra, Plan
from pef_explorer.search.expansion import NO_ANSWER
from pef_explorer.search.search import Violation
from pef_explorer.world.observation import ABSENT
from pef_explorer.world.quiescence import settle_contents
from pef_explorer.world.records import Ending
from pef_explorer.world.step import make
from pef_explorer.world.world import World
from pef_protocol.states import HvGfnState, UvGfnState

FORMAT: Final = "pef-counterexample/2"
NOTHING: Final = "nothing"
MOST_STEPS: Final = 400
"""Steps that open calls get to end in, once the breach is there."""


@dataclass(slots=True)
class Recording:
    """A world, and the steps that were made in it so far."""

    world: World
    steps: list[dict[str, Any]] = field(default_factory=list)
    esm: dict[str, int] = field(default_factory=dict)
    """The step at which each vCPU began its UV_ESM, and the last one that it made."""
    last: dict[str, int] = field(default_factory=dict)

    def make(self, move: Move) -> Ending | None:
        """Make a move and record it; a phase that follows another at once is recorded with the step before.

        Where somebody acted between the two, it is a step of its own, and `leads_to` of the one before is
        "suspended": over HTTP no UV_ESM waits there, so that such a file can't be played.
        """
        going_on = self.world.suspended is not None and move.action in {UV_ESM, ESM_FAILS}
        ended = self.world.do(move)
        if not self.world.open and self.world.suspended is None:
            settle_contents(self.world, lenient=False)
        leads_to = self._leads_to(move.actor, ended)
        if going_on and move.action == ESM_FAILS:
            self.steps[self.esm[move.actor]]["action"] = ESM_FAILS
        if going_on and self.last[move.actor] == len(self.steps) - 1:
            self.steps[-1]["leads_to"] = leads_to
            return ended
        if going_on:  # somebody acted between the two phases
            move = Move(move.actor, GO_ON, move.gfn)
        elif move.action in {UV_ESM, ESM_FAILS}:
            self.esm[move.actor] = len(self.steps)
        self.last[move.actor] = len(self.steps)
        gfn = None if move.gfn == VM else move.gfn
        fault = move.fault.value if move.fault else None
        step = {"actor": move.actor, "action": move.action, "gfn": gfn, "fault": fault, "leads_to": leads_to}
        self.steps.append(step)
        return ended

    def _leads_to(self, actor: str, ended: Ending | None) -> str:
        if ended is not None:
            return f"ends {ended.word}"
        each = self.world.open.get(actor)
        return each.call.described() if each else "suspended"

    def let_end(self) -> bool:
        """Let all open calls end; return whether they did."""
        for _ in range(MOST_STEPS):
            if self.world.suspended is not None:
                self.make(Move(GUESTS[self.world.place], UV_ESM))
            elif self.world.open:
                self.make(Move(min(self.world.open), GO_ON))
            else:
                return True
        return False


def counterexample(
    plan: Plan, violation: Violation, command: str, commit: str, mutant: str | None = None
) -> dict[str, Any]:
    """Return a violation as the content of a counterexample file."""
    recording = Recording(World(plan))
    world = recording.world
    for move in trimmed(plan, violation).moves:
        recording.make(move)
    violated_after, tables = len(recording.steps), tables_of(world)
    observations: dict[str, dict[str, str]] = {}
    if violation.invariant != EVERY_CALL_ENDS and recording.let_end():
        observations = observations_of(recording)
    return {
        "format": FORMAT,
        "title": f"{plan.design}: {violation.invariant.replace('_', ' ')}",
        "design": plan.design,
        "mutant": mutant,
        "invariant": violation.invariant,
        "sentence": violation.sentence,
        "found_by": {"command": command, "commit": commit},
        "system": system_of(plan),
        "steps": recording.steps,
        "violated_after": violated_after,
        "tables": tables,
        "observations": observations,
    }


def system_of(plan: Plan) -> dict[str, Any]:
    """Return the system of a plan; whether slot 1 is measured is said only where it is."""
    measured = {"measured_plug": True} if Extra.MEASURED_PLUG in plan.extras else {}
    return {
        "image": [part.value for part in plan.image],
        "plug": plan.plug,
        "vcpus": plan.vcpus,
        **measured,
    }


def trimmed(plan: Plan, violation: Violation) -> Violation:
    """Return the violation without the stores that it does not need."""
    for at in range(len(violation.moves) - 1, -1, -1):
        if violation.moves[at].action == "store":
            shorter = violation._replace(moves=_without(violation.moves, at))
            if comes_again(plan, shorter):
                violation = shorter
    return violation


def _without(moves: tuple[Move, ...], at: int) -> tuple[Move, ...]:
    """Return the moves without the action that begins at `at`."""
    actor, end = moves[at].actor, at + 1
    dropped = {at}
    while end < len(moves) and (moves[end].actor != actor or moves[end].action == GO_ON):
        if moves[end].actor == actor:
            dropped.add(end)
        end += 1
    return tuple(move for place, move in enumerate(moves) if place not in dropped)


def comes_again(plan: Plan, violation: Violation) -> bool:
    """Tell whether the last of the moves of a violation breaks its invariant again."""
    world = World(plan)
    step = None
    try:
        for move in violation.moves:
            if not world.open:
                settle_contents(world)
                world.put_back(world.saved())
            step = make(world, move)
    except Exception as failure:  # noqa: BLE001 - moves that can't be made, or the violation that is looked for
        return violation.invariant == NO_ANSWER and not isinstance(failure, KeyError)
    if step is None or violation.invariant == EVERY_CALL_ENDS:
        return step is not None and bool(world.open)
    return any(invariant == violation.invariant for invariant, _ in broken(step, frozenset()))


def tables_of(world: World) -> dict[str, list[str]]:
    """Return what each side says of each GFN."""
    hv_states, uv_states = world.now.hv, world.now.uv
    return {
        str(gfn): [
            NOTHING if hv_states[gfn] == ABSENT else HvGfnState(hv_states[gfn]).name,
            NOTHING if uv_states[gfn] == ABSENT else UvGfnState(uv_states[gfn]).name,
        ]
        for gfn in range(world.plan.pages)
    }


def observations_of(recording: Recording) -> dict[str, dict[str, str]]:
    """Have the guest load each page, and then the host read it; return what they found."""
    found: dict[str, dict[str, str]] = {}
    for gfn in _there(recording.world):
        guest = _read(recording.world, Move(GUESTS[0], "load", gfn))
        found[str(gfn)] = {"guest": guest, "host": ""}
    for gfn in _there(recording.world):
        found[str(gfn)]["host"] = _read(recording.world, Move(VMM, "host read", gfn))
    return found


def _there(world: World) -> Iterator[int]:
    yield from (gfn for gfn in range(world.plan.pages) if world.system.normal_page(gfn) is not None)


def _read(world: World, move: Move) -> str:
    ended = world.do(move)
    while ended is None:
        ended = world.do(Move(move.actor, GO_ON))
    return ended.word if ended.word in {"as written", "zero", "other"} else "refused"
