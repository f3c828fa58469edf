"""Search every state that a world can reach, breadth first, and what is broken on the way.

A world is copied by pickling it, and known by those bytes.
"""

import pickle
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Step: TypeAlias = tuple[str, str, tuple[Any, ...]]
"""What happens, in words; the method of the world that does it; its arguments."""


class Searched(Protocol):
    """A state of a world. `broken` says what the last step broke."""

    broken: list[str]

    def steps(self) -> Iterator[Step]:
        """Yield what may happen next."""

    def waiting(self) -> bool:
        """Tell whether somebody waits who must not wait for ever."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: how many states there are, and the shortest way to each violation."""

    states: int
    violations: dict[str, tuple[str, ...]]


def search(start: Searched) -> Found:
    """Search all states that `start` leads to. What follows a violation is not looked at."""
    first = pickle.dumps(start)
    came_from: dict[bytes, tuple[bytes, str] | None] = {first: None}
    leads_back: defaultdict[bytes, list[bytes]] = defaultdict(list)
    resting: list[bytes] = []
    violations: dict[str, tuple[str, ...]] = {}
    queue = deque([first])

    def way_to(known: bytes) -> tuple[str, ...]:
        way: list[str] = []
        while (before := came_from[known]) is not None:
            known, said = before
            way.append(said)
        return tuple(reversed(way))

    while queue:
        known = queue.popleft()
        world = _thawed(known)
        if not world.waiting():
            resting.append(known)
        for said, method, arguments in world.steps():
            after = _thawed(known)
            getattr(after, method)(*arguments)
            for sentence in after.broken:
                violations.setdefault(sentence, (*way_to(known), said))
            if after.broken:
                continue
            frozen = pickle.dumps(after)
            if frozen not in came_from:
                came_from[frozen] = known, said
                queue.append(frozen)
            if "dies" not in method:
                leads_back[frozen].append(known)
    stuck = set(came_from) - _all_that_reach(resting, leads_back)
    if stuck and not violations:
        violations["somebody waits for ever"] = min((way_to(known) for known in stuck), key=len)
    return Found(len(came_from), violations)


def _all_that_reach(goals: list[bytes], leads_back: dict[bytes, list[bytes]]) -> set[bytes]:
    reached, queue = set(goals), deque(goals)
    while queue:
        for known in leads_back.get(queue.popleft(), ()):
            if known not in reached:
                reached.add(known)
                queue.append(known)
    return reached


def _thawed(known: bytes) -> Searched:
    world: Searched = pickle.loads(known)  # noqa: S301 - our own bytes
    return world
