"""What a person may do now on a live VM, and why not the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pef_console.live.keyring import ROLE_OF_ACTOR, Keyring
from pef_console.live.vm import FLIP, LiveVm
from pef_console.live.wire import FAULT_OF, HeldMessage
from pef_console.stage import Move, NotPossible
from pef_lab.replay.counterexample import ACTIONS, AT_ONE_GFN, GO_ON, TWO_GFNS

ACTIONS_OF: Final = {
    actor: tuple(sorted(actions - TWO_GFNS)) + ((FLIP,) if actor == "vmm" else ())
    for actor, actions in ACTIONS.items()
}
"""The actions of each actor; those on two GFNs need two side by side, which an image does not have."""
OF_A_GFN: Final = AT_ONE_GFN | {FLIP}
DOES: Final = {
    "deliver": "deliver",
    "lose": "lose",
    "repeat": "deliver twice",
    "refuse": "refuse",
    "busy": "answer busy",
    "corrupt": "flip a bit of",
}


@dataclass(frozen=True, slots=True)
class LiveChoice:
    """A move, what it is called, and why it is not possible now; empty where it is."""

    move: Move
    label: str
    why_not: str = ""

    def shown(self, number: int) -> dict[str, Any]:
        """Return it as a frame has it."""
        return {"n": number, **self.move.model_dump(), "label": self.label, "why_not": self.why_not}


def choices(vm: LiveVm, keyring: Keyring, gfns: Sequence[int], ended: str) -> list[LiveChoice]:
    """Return all moves on `gfns`: first those of what is held. `ended`: why no move is possible any more."""
    ended = f"nothing can be done any more: {ended}" if ended else ""
    found: list[LiveChoice] = []
    for name, actor in vm.actors.items():
        held = vm.traffic.held_of(actor)
        if held is not None:
            found += [_of_held(name, held, action, ended) for action in held.actions]
        elif actor in vm.open_actors:
            move = Move(actor=name, action=GO_ON)
            found.append(LiveChoice(move, f"{name}: go on", ended or f"{name} waits inside a service"))
    idle = [name for name, actor in vm.actors.items() if actor not in vm.open_actors]
    for name in idle:
        reason = ended or keyring.why_not(ROLE_OF_ACTOR[name])
        for action in ACTIONS_OF[name]:
            if action not in OF_A_GFN:
                found.append(LiveChoice(Move(actor=name, action=action), f"{name}: {action}", reason))
    for gfn in gfns:
        for name in idle:
            reason = ended or keyring.why_not(ROLE_OF_ACTOR[name])
            found += [
                LiveChoice(Move(actor=name, action=action, gfn=gfn), f"{name}: {action} {gfn}", reason)
                for action in ACTIONS_OF[name]
                if action in OF_A_GFN
            ]
    return found


def require_possible(vm: LiveVm, keyring: Keyring, move: Move) -> HeldMessage | None:
    """Return the held message that a move lets go, None where it begins an action; raise NotPossible."""
    if move.actor not in vm.actors:
        raise NotPossible(f"there is no actor {move.actor}: only {', '.join(vm.actors)}")
    actor = vm.actors[move.actor]
    if move.action == GO_ON:
        held = vm.traffic.held_of(actor)
        if actor not in vm.open_actors:
            raise NotPossible(f"{move.actor} has nothing to go on with")
        if held is None:
            raise NotPossible(f"{move.actor} waits inside a service: nothing of it is held")
        possible = {FAULT_OF[action] for action in held.actions}
        if move.fault not in possible:
            raise NotPossible(f"what is held of {move.actor} can't be {move.fault}")
        return held
    if move.action not in ACTIONS_OF[move.actor]:
        raise NotPossible(f"{move.actor} can't {move.action}")
    if (move.gfn is not None) != (move.action in OF_A_GFN) or move.fault is not None:
        raise NotPossible(
            f"{move.action}: it names {'a' if move.action in OF_A_GFN else 'no'} GFN, and no fault"
        )
    if actor in vm.open_actors:
        raise NotPossible(f"{move.actor} has another action under way")
    if reason := keyring.why_not(ROLE_OF_ACTOR[move.actor]):
        raise NotPossible(reason)
    return None


def label_of(move: Move, held: HeldMessage | None) -> str:
    """Return what a move is called."""
    if held is None:
        return f"{move.actor}: {move.action}" + ("" if move.gfn is None else f" {move.gfn}")
    action = next(action for action, fault in FAULT_OF.items() if fault == move.fault)
    return f"{move.actor}: go on ({DOES[action]} {_name(held)})"


def _of_held(name: str, held: HeldMessage, action: str, ended: str) -> LiveChoice:
    move = Move(actor=name, action=GO_ON, fault=FAULT_OF[action])
    return LiveChoice(move, label_of(move, held), ended)


def _name(held: HeldMessage) -> str:
    return {"ask": held.message, "answer": held.code, "bus": "pages"}[held.kind]
