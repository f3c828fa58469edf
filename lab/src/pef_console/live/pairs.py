"""The pair that a live session runs on: one that is started for it, or one that runs already."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from pef_console.live.keyring import Keyring
from pef_console.live.wire import HeldTraffic
from pef_console.stage import NotPossible
from pef_lab.between.go_between import GoBetween
from pef_lab.between.wire import PLAN, Ports, standing_between
from pef_lab.endpoints import Endpoints
from pef_lab.pair import Pair
from pef_protocol.events import Side

HELD_FOR: Final = 86_400.0
"""Seconds that a message may be held: a day. Each side waits as long for the other."""
MOST_PAIRS: Final = 8
ITS_OWN: Final = "a pair of its own"
RUNNING: Final = "a running pair"


@dataclass(slots=True)
class SessionPair:
    """Two services: where they are, whose tokens are there, and what passes between them.

    `another` makes one like it for another session. `started`: its processes, where a session has its own.
    """

    name: str
    endpoints: Endpoints
    traffic: HeldTraffic
    another: Callable[[], Awaitable["SessionPair"]]
    holds: bool = True
    """Whether go-betweens stand between its services, so that messages are held."""
    started: Pair | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def keyring(self) -> Keyring:
        """Return whose tokens are there."""
        return Keyring.of(self.endpoints)

    def ended(self) -> str:
        """Say how a service ended, if one that was started has; else nothing."""
        gone = self.started.ended if self.started is not None else None
        return gone.end() if gone is not None else ""

    async def close(self) -> None:
        """Stop what was started for it."""
        await self.stack.aclose()


@dataclass(slots=True)
class Places:
    """How many pairs a console may have started at once, for each is two processes."""

    most: int = MOST_PAIRS
    taken: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place; raise NotPossible where all are taken."""
        if self.taken >= self.most:
            raise NotPossible(f"{self.most} live sessions have a pair of their own, and no more may: end one")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


async def own_pair(secure_memory: int, places: Places) -> SessionPair:
    """Start a pair with so much secure memory (bytes), and go-betweens.

    Raise OperatorFault if it can't be started, and NotPossible where there are enough.
    """
    traffic = HeldTraffic()
    plan = replace(PLAN, secure_memory=secure_memory, peer_timeout=HELD_FOR, give_up=HELD_FOR)
    async with AsyncExitStack() as stack:
        stack.enter_context(places.one())
        between = await stack.enter_async_context(standing_between(_conducted(traffic), None, plan))
        another = partial(own_pair, secure_memory, places)
        return SessionPair(
            ITS_OWN, between.endpoints, traffic, another, started=between.pair, stack=stack.pop_all()
        )


async def running_pair(endpoints: Endpoints, ports: Ports | None) -> SessionPair:
    """Join a running pair; with `ports`, as go-betweens between its services.

    Raise WrongInput where a port is taken, and OperatorFault where the pair does not answer.
    """
    traffic = HeldTraffic()

    async def another() -> SessionPair:
        if ports is not None:
            raise NotPossible("the wire of this pair is taken by this session: it can't be copied")
        return await running_pair(endpoints, None)

    async with AsyncExitStack() as stack:
        if ports is not None:
            await stack.enter_async_context(standing_between(_conducted(traffic), ports))
        return SessionPair(
            RUNNING, endpoints, traffic, another, holds=ports is not None, stack=stack.pop_all()
        )


def _conducted(traffic: HeldTraffic) -> Callable[[Side, str, int], GoBetween]:
    def conducted(to: Side, host: str, port: int) -> GoBetween:
        return GoBetween(to, traffic.conduct, host, port)

    return conducted
