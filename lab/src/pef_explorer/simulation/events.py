"""What happens to the machines from outside: the drawn list of actions and faults that a seed stands for.

Each event stands for itself: whatever is drawn while the run goes on is drawn from the seed and the event's
own number. So events can be dropped, and those that are left happen as before.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, NamedTuple

from pef_explorer.actions.move import GUESTS, MEMORY, VMM
from pef_explorer.actions.names import ActionName
from pef_explorer.plan import Part
from pef_protocol.designs import DesignName


class Kind(StrEnum):
    """What may befall a message."""

    LOST = "lost"
    """A request or an answer that never arrives: the request is sent again, in its slot."""
    DOUBLED = "doubled"
    """A request that arrives twice: the second time at once, or when it is long over."""
    DELAYED = "delayed"


class Start(NamedTuple):
    """An actor begins an action on `pages` GFNs, at `at` of a round, or as soon after as it is free."""

    number: int
    round: int
    at: int
    vm: int
    actor: str
    action: ActionName
    gfn: int
    pages: int


class Trouble(NamedTuple):
    """Something befalls the `message`-th message of action `start`."""

    number: int
    start: int
    message: int
    kind: Kind


class Restart(NamedTuple):
    """A side dies, and starts anew with nothing of its memory; every message of the past may still arrive."""

    number: int
    round: int
    at: int
    side: str


class Partition(NamedTuple):
    """No message passes for `length`."""

    number: int
    round: int
    at: int
    length: int


Event = Start | Trouble | Restart | Partition
NAMES: Final[dict[str, type[Event]]] = {
    "start": Start,
    "trouble": Trouble,
    "restart": Restart,
    "partition": Partition,
}

OF_GUEST: Final = {
    ActionName.LOAD: 34,
    ActionName.STORE: 26,
    ActionName.SHARE: 13,
    ActionName.UNSHARE: 10,
    ActionName.UNSHARE_ALL: 1,
    ActionName.ESM: 8,
    ActionName.BAD_ESM: 2,
    ActionName.REBOOT: 1,
}
OF_VMM: Final = {
    ActionName.HOST_READ: 60,
    ActionName.HOST_WRITE: 12,
    ActionName.HOT_ADD: 12,
    ActionName.HOT_REMOVE: 8,
    ActionName.RESET: 2,
    ActionName.REPLACE: 2,
}
OF_MEMORY: Final = {ActionName.PAGE_OUT: 60, ActionName.UNMAP: 40}
ACTORS: Final = {**dict.fromkeys(GUESTS, OF_GUEST), VMM: OF_VMM, MEMORY: OF_MEMORY}

ROUNDS: Final = 4
"""Rounds of a run; after each all calls end, and everything is looked at."""
PACE: Final = 12
"""Units of time to each action: a message takes about as many, so several are on their way."""
HOT: Final = 0.6
"""Part of the actions that go to a few GFNs, so that they meet."""
TROUBLED: Final = 0.2
RESTARTS: Final = 1
PARTED: Final = (200, 2000)
"""How long a partition lasts."""
MESSAGES: Final = 4
RANGES: Final = frozenset({ActionName.SHARE, ActionName.UNSHARE, ActionName.PAGE_OUT, ActionName.UNMAP})


@dataclass(frozen=True)
class SystemSize:
    """The size of a simulated system."""

    vms: int = 4
    gfns: int = 64
    plug: int = 8
    secure_pages: int = 160

    @property
    def pages(self) -> int:
        """Return the GFNs of one VM, its hot-pluggable slot included."""
        return self.gfns + self.plug

    @cached_property
    def image(self) -> tuple[Part, ...]:
        """Return the part of each GFN of slot 0 in UV_ESM."""
        parts = {0: Part.BROUGHT, 1: Part.BROUGHT, 2: Part.SHARED, 5: Part.BROUGHT, 9: Part.SHARED}
        return tuple(parts.get(gfn, Part.UNMIGRATED) for gfn in range(self.gfns))

    @property
    def hot(self) -> tuple[int, ...]:
        """Return the GFNs that are used most."""
        return (0, 1, 2, 3, 4, 5, self.gfns - 1, self.gfns, self.gfns + 1)


SIZE: Final = SystemSize()


@dataclass(frozen=True, slots=True)
class Seed:
    """What makes a run: the same makes the same. Odd ones have faults; even ones never have."""

    number: int
    design: DesignName
    steps: int

    @property
    def faulty(self) -> bool:
        """Tell whether messages get lost in the run."""
        return bool(self.number % 2)


def drawn(seed: Seed) -> list[Event]:
    """Draw the events of a seed: `steps` actions and, where it is odd, faults after the first round."""
    random_ = random.Random(f"pef-simulation {seed.number}")
    events: list[Event] = []
    a_round = -(-seed.steps // ROUNDS)
    for place in range(seed.steps):
        number, round_ = len(events), place // a_round
        actor = random_.choice(tuple(ACTORS))
        actions = ACTORS[actor]
        action = random_.choices(tuple(actions), tuple(actions.values()))[0]
        vm = random_.randrange(SIZE.vms)
        if place < SIZE.vms * 2:  # each VM writes something, and becomes secure
            vm, actor, action = place // 2, GUESTS[0], (ActionName.STORE, ActionName.ESM)[place % 2]
        gfn, count = _range(random_, action)
        at = random_.randrange(a_round * PACE) if place >= SIZE.vms * 2 else 0
        events.append(Start(number, round_, at, vm, actor, action, gfn, count))
        if seed.faulty and round_ and random_.random() < TROUBLED:
            kind = random_.choice(tuple(Kind))
            events.append(Trouble(len(events), number, random_.randrange(MESSAGES), kind))
    for round_ in range(1, ROUNDS if seed.faulty else 1):
        for _ in range(RESTARTS):
            at, side = random_.randrange(a_round * PACE), random_.choice(("ultravisor", "hypervisor"))
            events.append(Restart(len(events), round_, at, side))
        at, length = random_.randrange(a_round * PACE), random_.randrange(*PARTED)
        events.append(Partition(len(events), round_, at, length))
    return events


def _range(random_: random.Random, action: ActionName) -> tuple[int, int]:
    hot = random_.random() < HOT
    gfn = random_.choice(SIZE.hot) if hot else random_.randrange(SIZE.pages)
    count = random_.choice((1, 1, 1, 2, 3)) if action in RANGES else 1
    return gfn, min(count, (SIZE.gfns if gfn < SIZE.gfns else SIZE.pages) - gfn)


def as_json(event: Event) -> dict[str, Any]:
    """Return an event as a JSON object."""
    name = next(name for name, kind in NAMES.items() if type(event) is kind)
    return {"event": name, **event._asdict()}


def from_json(fields: dict[str, Any]) -> Event:
    """Read an event; raise ValueError, KeyError or TypeError where it is none."""
    known = dict(fields)
    kind = NAMES[known.pop("event")]
    for name, words in (("action", ActionName), ("kind", Kind)):
        if name in known:
            known[name] = words(known[name])
    if kind is Start:
        _check(Start(**known))
    return kind(**known)


def _check(start: Start) -> None:
    """Raise ValueError where an action is not one of the simulated world's."""
    end = start.gfn + start.pages
    inside = 0 <= start.gfn < end <= SIZE.pages and (start.gfn >= SIZE.gfns or end <= SIZE.gfns)
    if not (inside and 0 <= start.vm < SIZE.vms and start.actor in ACTORS):
        message = f"action {start.number} is not one of this world"
        raise ValueError(message)


def delay(seed: int, number: int, step: int, low: int, high: int) -> int:
    """Draw a time from `low` to below `high`, always the same for one step of one event."""
    mixed = (seed * 0x9E3779B97F4A7C15 + number * 0xC2B2AE3D27D4EB4F + step * 0x165667B19E3779F9) & (
        1 << 64
    ) - 1
    mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
    return low + (mixed ^ mixed >> 32) % (high - low)


MAGIC: Final = 0xA5
BY_GUEST, BY_HOST = 1, 2


def token_of(start: Start) -> int:
    """Return the token that an action writes: it tells who wrote it, when, and to which page."""
    by = BY_HOST if start.action is ActionName.HOST_WRITE else BY_GUEST
    return MAGIC << 56 | by << 52 | start.vm << 44 | start.gfn << 32 | start.number + 1


def page_of_token(word: int) -> tuple[int, int]:
    """Return the VM and the GFN that a token was written to."""
    return word >> 44 & 0xFF, word >> 32 & 0xFFF
