"""Each action of each actor: what can be done now, and why the rest can't.

Nothing is reduced here: no symmetry, no bound on open calls, no footprint. The search has all of that
(`pef_explorer.world.possible_moves`), because it makes every move; a person makes one.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pef_explorer.actions import action as allowed
from pef_explorer.actions.move import GO_ON, GUESTS, MEMORY, VM, VMM, Move
from pef_explorer.actions.names import ActionName
from pef_explorer.actions.table import ESM_FAILS, UV_ESM
from pef_explorer.machines.faults import OF_A_PEER, Fault
from pef_explorer.machines.open_call import OpenCall, Pending
from pef_explorer.machines.small_esm import name_of
from pef_explorer.session.node import Begun, label_of
from pef_explorer.world.deaths import HELLO, deaths
from pef_explorer.world.network import NETWORK, arrivals, may_befall
from pef_explorer.world.world import World
from pef_kit.core.effects import PeerCall
from pef_protocol.calls import Reply

REASONS: Final[Mapping[Callable[..., bool], str]] = {
    allowed.has_vm: "there is no VM",
    allowed.is_there: "no slot holds GFN {gfn}",
    allowed.is_secure: "the VM does not run secure",
    allowed.runs_secure: "the VM does not run secure, or no slot holds GFN {gfn}",
    allowed.two_run_secure: "the VM does not run secure, or no slot holds GFN {gfn} and the next one",
    allowed.may_be_kept: "GFN {gfn} is not private, or was written over: there is no ciphertext to keep",
    allowed.is_no_longer_newest: "no ciphertext was kept that differs from what GFN {gfn} holds",
    allowed.plugged: "slot 1 is not plugged in",
    allowed.unplugged: "slot 1 is plugged in, or there is no VM",
    allowed.may_end: "the session has no death of a VM left",
    allowed.has_no_vm: "there is a VM",
}
"""Why an action is not possible, by the function that says so."""
LOSING: Final = frozenset({ActionName.CREATE.value, ActionName.REPLACE.value})
"""Actions that need a VM to have ended; they are listed only where one may."""
DELIVERED: Final[Mapping[Fault | None, str]] = {
    None: "deliver {}",
    Fault.REFUSED: "refuse {}",
    Fault.BUSY: "answer {} busy",
    Fault.LOST: "lose {}",
    Fault.DOUBLED: "deliver {} twice",
    Fault.KEPT: "deliver {}, and keep a copy",
    Fault.ANSWER_LOST: "lose the answer {}",
}
STOPS: Final[Mapping[Pending, str]] = {
    Pending.TRANSFER: "move the pages",
    Pending.WORK: "work",
    Pending.PAUSE: "try again",
}


class Choice(NamedTuple):
    """A move with its number, from 1, and its words; `why_not` is empty where it can be made."""

    n: int
    move: Move
    label: str
    why_not: str


def choices_of(world: World, begun: Mapping[str, Begun], rule: Callable[[Move], str]) -> list[Choice]:
    """Return every move, those that can be made first. `rule` says why one is not allowed, or nothing."""
    found = [(move, label, reason or rule(move)) for move, label, reason in _all(world, begun)]
    found.sort(key=lambda each: bool(each[2]))
    return [Choice(n, *each) for n, each in enumerate(found, 1)]


def why_not(world: World, begun: Mapping[str, Begun], wanted: Move) -> str:
    """Return why a move can't be made, in a sentence; nothing where it can be."""
    for move, _, reason in _all(world, begun):
        if move == wanted:
            return reason
    if wanted.action == GO_ON and wanted.actor not in begun:
        return f"{wanted.actor} has nothing open to go on with"
    if wanted.fault is not None and wanted.action == GO_ON:
        return f"nothing is on its way that could be {wanted.fault.value}"
    return f"there is no move {label_of(wanted)!r} in this system"


def why_not_made(world: World, begun: Mapping[str, Begun], wanted: Move) -> str:
    """Return why a move can't be made at all: one that the services only refuse can be made.

    Files have such moves, as a load of a GFN in no slot.
    """
    reason = why_not(world, begun, wanted)
    starts = any(move == wanted for move, _, _ in world.starts) and wanted.action not in LOSING
    return "" if starts and wanted.actor not in begun and not _is_due(world) else reason


def may_be_refused(world: World, move: Move) -> bool:
    """Tell whether nothing promises that an action succeeds, though it is alone.

    So it is for one that the services can only refuse, and for a vCPU while the UV_ESM of another one stands
    between two phases: to the explorer nothing is open then.
    """
    if move.actor in GUESTS and world.suspended is not None:
        return True
    return any(each == move and not action.may_be(world, move.gfn) for each, action, _ in world.starts)


def _is_due(world: World) -> bool:
    """Tell whether the two sides share no epoch."""
    return world.system.apart or HELLO in world.names


def standing(world: World, actor: str) -> bool:
    """Tell whether the UV_ESM of a vCPU stands between two of its phases."""
    entering = world.system.entering
    stands = entering is not None and entering.reply is None
    return stands and actor not in world.open and actor in GUESTS and GUESTS[world.place] == actor


def next_phase(world: World) -> str:
    """Return what a UV_ESM that stands between two phases does next, in words."""
    entering = world.system.entering
    if entering is None:
        return ""
    if entering.failure is not None:
        return "give up, and go back to a normal VM"
    return name_of(entering.steps[entering.place])


def goes_on_with(call: OpenCall, fault: Fault | None = None) -> str:
    """Return what going on means for an open call, in words."""
    effect = call.effect
    if isinstance(effect, PeerCall):
        return DELIVERED[fault].format(effect.name)
    if call.pending is Pending.REPLY:
        code = effect.code.name if isinstance(effect, Reply) else "nothing"
        return DELIVERED[fault].format(code) if fault else f"read {code}"
    return STOPS.get(call.pending, call.pending.value)


def _all(world: World, begun: Mapping[str, Begun]) -> Iterator[tuple[Move, str, str]]:
    for actor in _actors(world):
        each = world.open.get(actor)
        if each is not None:
            for fault in (None, *_faults(world, each.call)):
                words = goes_on_with(each.call, fault)
                yield Move(actor, GO_ON, VM, fault), f"{actor}: go on ({words})", ""
        elif standing(world, actor):
            yield Move(actor, GO_ON), f"{actor}: go on ({next_phase(world)})", ""
    for move, reason in _starts(world, begun):
        yield move, label_of(move), reason
    if NETWORK not in world.open:
        yield from ((move, label_of(move), "") for move in arrivals(world.system))
    yield from ((move, label_of(move), "") for move in deaths(world))


def _actors(world: World) -> list[str]:
    own = [*GUESTS[: world.plan.vcpus], VMM, MEMORY]
    return own + [actor for actor in world.open if actor not in own]


def _faults(world: World, call: OpenCall) -> Iterator[Fault]:
    if world.faults and call.pending is Pending.REQUEST:
        yield from OF_A_PEER[world.plan.delivery]
    yield from may_befall(call, world.troubles)


def _starts(world: World, begun: Mapping[str, Begun]) -> Iterator[tuple[Move, str]]:
    """Yield what may begin, each action of each actor."""
    enters = _why_not_enter(world)
    for guest in GUESTS[: world.plan.vcpus]:
        reason = _at_work(world, begun, guest) or enters
        yield from ((Move(guest, name), reason) for name in (UV_ESM, ESM_FAILS))
    for move, action, _ in world.starts:
        if action.name not in LOSING or _may_lose_its_vm(world):
            yield move, _at_work(world, begun, move.actor) or _why_not_begin(world, action, move)


def _at_work(world: World, begun: Mapping[str, Begun], actor: str) -> str:
    if actor in begun:
        return f"{actor} is at work on {begun[actor].action}"
    return "the two sides share no epoch: a hello is due" if _is_due(world) else ""


def _may_lose_its_vm(world: World) -> bool:
    return world.plan.troubles.deaths + world.plan.troubles.destroys > 0


def _why_not_begin(world: World, action: Any, move: Move) -> str:
    return "" if action.may_be(world, move.gfn) else REASONS[action.may_be].format(gfn=move.gfn)


def _why_not_enter(world: World) -> str:
    vm = world.system.vm
    if vm is None:
        return "there is no VM"
    if world.oracle.secure:
        return "the VM runs secure already"
    if world.system.svm is not None or world.system.entering is not None:
        return "the Ultravisor has an SVM for it already"
    if vm.must_reset:
        return "the VM must be reset first"
    gone = [gfn for gfn in world.brought if world.system.normal_page(gfn) is None]
    return f"no slot holds GFN {gone[0]}, which is of the image" if gone else ""
