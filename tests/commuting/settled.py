"""The settled states of a small system: those that a search of one call at a time finds."""

from dataclasses import replace
from functools import cache

from pef_explorer.plan import Plan
from pef_explorer.search.search import Search
from pef_explorer.world.records import SettledState
from pef_explorer.world.world import World


class KeepingSearch(Search):
    """A search that keeps each settled state which it finds, but for those with a UV_ESM under way."""

    def __init__(self, plan: Plan) -> None:
        self.settled: list[SettledState] = []
        super().__init__(plan)
        self.settled += [settled for _, _, settled in self._frontier]

    def _push(self, world: World, depth: int, number: int, settled: SettledState) -> None:
        if settled.snapshot.suspended is None:
            self.settled.append(settled)
        super()._push(world, depth, number, settled)


@cache
def settled_states(plan: Plan, transitions: int = 0) -> list[SettledState]:
    """Return every settled state, or those found in so many transitions, in the order of the search."""
    search = KeepingSearch(replace(plan, calls=1))
    search.go_on(lambda progress: bool(transitions) and progress.transitions >= transitions)
    return search.settled
