"""A counterexample: its steps are made again once, and then gone along; to do other moves, it is copied."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from pef_console.machines import Machines
from pef_console.model import ModelStage, world_move
from pef_console.stage import Frame, Move, NotPossible, StageKind, Until
from pef_explorer.actions.move import VM
from pef_explorer.session.session import Session
from pef_lab.failures import WrongInput
from pef_lab.replay.counterexample import Counterexample

FORK: Final = "this is a recording: fork to go on in the model"


class RecordedCounterexample(ModelStage):
    """The steps of a file. The next one of them is the only move."""

    @property
    def kind(self) -> StageKind:
        """Return that it is a recording."""
        return StageKind.RECORDED

    async def move(self, move: Move) -> None:
        """Go to the next step, where `move` is that one."""
        session, wanted = self._session, world_move(move)
        following = session.nodes[session.at].children
        if not following or session.nodes[following[0]].move != wanted:
            raise NotPossible(FORK)
        await self.forward()

    async def run(self, until: Until) -> None:
        """Go forward along the steps of the file."""
        if until == "quiescent":
            await self._do(self._until_quiescent)
        else:
            await super().run(until)

    def _until_quiescent(self) -> None:
        session = self._session
        session.forward()
        while session.nodes[session.at].children and not session.nodes[session.at].made.quiescent:
            session.forward()

    @classmethod
    def _frame_of(cls, session: Session) -> Frame:
        """Return the frame with the next step as its one possible move."""
        frame = super()._frame_of(session)
        children = session.nodes[session.at].children
        node = session.nodes[children[0]] if children else None
        move = node.move if node else None
        frame["moves"] = []
        if node is not None and move is not None:
            frame["moves"] = [
                {
                    "n": 1,
                    "actor": move.actor,
                    "action": str(move.action),
                    "gfn": None if move.gfn == VM else move.gfn,
                    "fault": None if move.fault is None else str(move.fault),
                    "label": node.label,
                    "why_not": "",
                }
            ]
        frame["moves_left_out"] = 0
        return frame


async def open_counterexample(
    machines: Machines, moves: int, found: Counterexample
) -> RecordedCounterexample:
    """Open a counterexample; raise WrongInput where its mutant is not to be had."""
    if len(found.steps) > moves:
        raise WrongInput(f"it has {len(found.steps):,} steps, and a session has at most {moves:,} moves")
    mutated = None if found.mutant is None else mutation(found.mutant)
    return await RecordedCounterexample.opened(
        machines, lambda: Session.of_file(found, limit=moves, mutated=mutated), found.title
    )


def mutation(name: str) -> Callable[[], AbstractContextManager[None]]:
    """Return what puts a mutant into this process; raise WrongInput where there is none."""
    try:
        from pef_mutants.in_process import known_mutant, mutated
    except ImportError:
        raise WrongInput(f"it is of the mutant {name!r:.60}, and this installation has no mutants") from None
    known_mutant(name)
    return partial(mutated, name)
