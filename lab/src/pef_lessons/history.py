"""The path to a session's cursor: each move with its outcome and the frame after it, and the actions.

A history is made by making the moves again in a session of its own. So nothing is taken from what a hand-in
or a page says about itself, and the session that is judged is not changed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pef_explorer.actions.move import GO_ON, Move
from pef_explorer.session.frame import Frame
from pef_explorer.session.session import Session
from pef_lab.agreement import agreeing_states
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState, UvGfnState

ENDS: Final = "ends "


@dataclass(frozen=True, slots=True)
class PathMove:
    """One move, what it led to, the frames before and after it, and the bytes that the host has then.

    `normal`: the first bytes of the normal page of each GFN; None where there is none.
    """

    move: Move
    outcome: str
    before: Frame
    after: Frame
    normal: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class ActionDone:
    """An action from its first move to its end: `word` is how it ended, without `ends`.

    `began`, `ended`: the places of its first and its last move in the history.
    """

    actor: str
    action: str
    gfn: int
    word: str
    began: int
    ended: int
    before: Frame
    after: Frame


@dataclass(frozen=True, slots=True)
class History:
    """All moves of a path, from the start of the system on."""

    design: DesignName
    start: Frame
    made: tuple[PathMove, ...]
    done: tuple[ActionDone, ...]
    """The actions that have ended, in the order of their ends."""

    @property
    def end(self) -> Frame:
        """Return the frame at the cursor."""
        return self.made[-1].after if self.made else self.start

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Return the frame at the start, and after each move."""
        return (self.start, *(each.after for each in self.made))

    def actions(self, *names: str, word: str = "") -> tuple[ActionDone, ...]:
        """Return the actions of these names that have ended, with `word` where one is given, in order."""
        return tuple(
            each
            for each in self.done
            if (not names or each.action in names) and (not word or each.word == word)
        )

    def last_write(self, read: ActionDone) -> ActionDone | None:
        """Return the last write of a page that had ended when an action on it began, or None."""
        writes = [
            each
            for each in self.actions("store", "host write", "write kept ciphertext")
            if each.gfn == read.gfn and each.ended < read.began and each.word in {"resolved", "OK"}
        ]
        return writes[-1] if writes else None

    def ciphertext(self, done: ActionDone) -> bytes | None:
        """Return the bytes that the host had of a page when an action on it ended."""
        return self.made[done.ended].normal[done.gfn]

    def broken(self, *invariants: str) -> tuple[str, ...]:
        """Return the sentences of the invariants that are broken on the path: of these, or of all."""
        return tuple(
            verdict.sentence
            for verdict in self.end.verdicts
            if not verdict.holds and (not invariants or verdict.invariant in invariants)
        )


def history_of(session: Session) -> History:
    """Return the history of the path to a session's cursor; the session is not changed."""
    again = session.copy()
    path = again.path()
    start = before = again.goto(path[0].n)
    made = []
    for node in path[1:]:
        after = again.goto(node.n)
        if node.move is not None:
            normal = tuple(again.page(gfn)[1] for gfn in range(session.plan.pages))
            made.append(PathMove(node.move, node.outcome, before, after, normal))
        before = after
    return History(session.plan.design, start, tuple(made), tuple(_actions(made)))


def _actions(made: Sequence[PathMove]) -> Iterator[ActionDone]:
    begun: dict[str, int] = {}
    for place, each in enumerate(made):
        if each.move.action != GO_ON:
            begun[each.move.actor] = place
        if each.outcome.startswith(ENDS) and each.move.actor in begun:
            began = begun.pop(each.move.actor)
            first = made[began]
            word = each.outcome.removeprefix(ENDS)
            of = first.move
            yield ActionDone(of.actor, of.action, of.gfn, word, began, place, first.before, each.after)


def states_of(frame: Frame, gfn: int) -> tuple[str, str]:
    """Return what the Hypervisor and the Ultravisor say of a GFN, by the names of the states."""
    for run in frame.gfns:
        if run.first <= gfn < run.first + run.count:
            return run.hypervisor, run.ultravisor
    return "nothing", "nothing"


def runs_secure(frame: Frame) -> bool:
    """Tell whether both sides call the VM secure."""
    return frame.vm.hypervisor == "SECURE" and frame.vm.ultravisor == "SECURE"


def agree(design: DesignName, hypervisor: str, ultravisor: str) -> bool:
    """Tell whether two states of a GFN of a secure VM agree under a design."""
    if hypervisor == "nothing" or ultravisor == "nothing":
        return hypervisor == ultravisor
    return UvGfnState[ultravisor] in agreeing_states(design)[HvGfnState[hypervisor]]
