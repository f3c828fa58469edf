"""Shrinking: from the drawn events of a run that failed to the few that are needed (delta debugging)."""

from collections.abc import Callable, Sequence
from typing import Final

from pef_explorer.simulation.course import Failure, course_of
from pef_explorer.simulation.events import Event, Partition, Restart, Seed, Start, Trouble

MOST_RUNS: Final = 600
"""Runs after which shrinking stops with what it has."""


def shrunk(seed: Seed, events: Sequence[Event], failure: Failure) -> tuple[list[Event], Failure]:
    """Return few events that break the same invariant, and how they do."""
    runs = 0
    best = failure

    def still_fails(some: list[Event]) -> bool:
        nonlocal runs, best
        if runs == MOST_RUNS:
            return False
        runs += 1
        now = course_of(seed, some).failure
        if now is None or now.invariant != failure.invariant:
            return False
        best = now
        return True

    kept = list(events)
    begun = [each for each in kept if isinstance(each, Trouble) or _before(each, failure)]
    kept = begun if still_fails(begun) else kept
    kept = _without_orphans(fewer(kept, still_fails))
    return kept, best


def _before(event: Start | Restart | Partition, failure: Failure) -> bool:
    return (event.round, event.at) <= (failure.round, failure.at)


def _without_orphans(events: list[Event]) -> list[Event]:
    """Drop what befalls messages of actions that are gone."""
    actions = {each.number for each in events if isinstance(each, Start)}
    return [each for each in events if not isinstance(each, Trouble) or each.start in actions]


def fewer(events: list[Event], still_fails: Callable[[list[Event]], bool]) -> list[Event]:
    """Drop chunks of `events`, ever smaller ones, as long as what is left `still_fails`."""
    chunk = max(1, len(events) // 2)
    while True:
        place, dropped = 0, False
        while place < len(events):
            rest = events[:place] + events[place + chunk :]
            if still_fails(rest):
                events, dropped = rest, True
            else:
                place += chunk
        if chunk == 1 and not dropped:
            return events
        if not dropped or chunk > 1:
            chunk = max(1, chunk // 2)
