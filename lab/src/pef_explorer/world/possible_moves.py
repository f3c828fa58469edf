"""The moves that may be made in a state of the small system."""

from collections.abc import Iterator
from typing import Final

from pef_explorer.actions.move import GO_ON, GUESTS, MEMORY, VM, VMM, Move
from pef_explorer.actions.names import ActionName
from pef_explorer.actions.table import ACTIONS, ESM_FAILS, UV_ESM, is_new
from pef_explorer.machines.faults import OF_A_PEER, Fault
from pef_explorer.machines.open_call import OpenCall, Pending
from pef_explorer.machines.small_esm import measured
from pef_explorer.plan import Extra
from pef_explorer.world.deaths import HELLO, deaths
from pef_explorer.world.network import NETWORK, arrivals, may_befall
from pef_explorer.world.state import WorldState

HOST: Final = frozenset({VMM, MEMORY})
PLUGGING: Final = frozenset({ActionName.HOT_ADD.value, ActionName.HOT_REMOVE.value})


def possible_moves(world: WorldState) -> Iterator[tuple[Move, frozenset[int]]]:
    """Yield each possible move, with the footprint of the action that it begins, or an empty one."""
    if NETWORK not in world.open:
        yield from ((move, world.whole) for move in arrivals(world.system))
    yield from ((move, world.whole) for move in deaths(world))
    if world.suspended is not None:
        yield from _phases(world)
        yield from _meanwhile(world)
        return
    for actor, each in world.open.items():
        yield Move(actor, GO_ON), frozenset()
        yield from ((Move(actor, GO_ON, VM, fault), frozenset()) for fault in _faults(world, each.call))
    if world.begun >= world.plan.calls or world.system.apart or HELLO in world.names:
        return
    begun = {actor: each.move.action for actor, each in world.open.items()}
    entering = _who_enters(world)
    busy = frozenset().union(*(each.footprint for each in world.open.values()))
    for move, action, footprint in world.starts:
        if move.actor in world.open or move.actor == entering or (busy and not busy & footprint):
            continue
        if (
            action.may_be(world, move.gfn)
            and is_new(world.plan, move, begun)
            and _is_in_its_reach(world, move)
        ):
            yield move, footprint
    for guest in GUESTS[: world.plan.vcpus]:
        if guest not in world.open and _may_enter(world):
            yield Move(guest, UV_ESM, VM), world.whole


def _is_in_its_reach(world: WorldState, move: Move) -> bool:
    """Tell whether a guest that waits may use a GFN, and whether a slot may be taken out that it may use."""
    if not world.plan.guest_waits:
        return True
    plugged = world.plan.plugged
    if move.actor in GUESTS:
        return not _names_one_of(plugged, move) or not world.names & PLUGGING
    users = (each for actor, each in world.open.items() if actor in GUESTS)
    return move.action not in PLUGGING or not any(_names_one_of(plugged, each.move) for each in users)


def _names_one_of(gfns: range, move: Move) -> bool:
    """Tell whether what a move begins names one of some GFNs."""
    return move.gfn != VM and any(gfn in gfns for gfn in ACTIONS[move.action].gfns(move.gfn))


def _who_enters(world: WorldState) -> str | None:
    """Return the vCPU whose UV_ESM stands between two phases: until its end it does nothing else."""
    entering = world.system.entering
    return GUESTS[world.place] if entering is not None and entering.reply is None else None


def _faults(world: WorldState, call: OpenCall) -> Iterator[Fault]:
    if world.faults and call.pending is Pending.REQUEST:
        yield from OF_A_PEER[world.plan.delivery]
    yield from may_befall(call, world.troubles)


def _may_enter(world: WorldState) -> bool:
    """Tell whether UV_ESM may begin; not where it would only wait until somebody resets the VM."""
    vm, nothing = world.system.vm, world.system.svm is None and world.system.entering is None
    there = all(world.system.normal_page(gfn) is not None for gfn in world.brought)
    return vm is not None and there and not vm.must_reset and nothing and not world.oracle.secure


def _meanwhile(world: WorldState) -> Iterator[tuple[Move, frozenset[int]]]:
    """Yield what the host may do to a GFN between two phases of a UV_ESM, or to slot 1 if that is measured.

    While a phase is under way its pages are busy; so what begins there may end only in a later phase.
    """
    for move, action, footprint in world.starts:
        reached = footprint == {move.gfn} or (action.plug and Extra.MEASURED_PLUG in world.plan.extras)
        if move.actor in HOST and reached and action.may_be(world, move.gfn):
            yield move, footprint


def _phases(world: WorldState) -> Iterator[tuple[Move, frozenset[int]]]:
    entering, vcpu = world.system.entering, GUESTS[world.place]
    if entering is None:
        return
    yield Move(vcpu, UV_ESM, VM), world.whole
    if entering.failure is None and entering.steps[entering.place] is measured:
        yield Move(vcpu, ESM_FAILS, VM), world.whole
