"""A step: one move, with both machines as they were observed before and after it."""

from dataclasses import dataclass

from pef_explorer.actions.move import Move
from pef_explorer.world.observation import Observation
from pef_explorer.world.records import Ending
from pef_explorer.world.world import World


@dataclass(slots=True)
class Step:
    """One move: the machines before and after it, and the action that it ended.

    `quiescent`: no call is open.
    """

    move: Move
    before: Observation
    after: Observation
    ended: Ending | None
    failed: str
    quiescent: bool
    world: World


def make(world: World, move: Move) -> Step:
    """Make a move and return it as a step."""
    before = world.now
    ended = world.do(move)
    return Step(move, before, world.now, ended, world.failed, world.quiescent, world)
