"""A session of the console's live stage, for tests: opened on a pair of its own, and closed."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from pef_console.live.framing import LARGEST
from pef_console.live.pairs import SessionPair
from pef_console.live.stage import LiveStage
from pef_console.live.wire import HeldTraffic
from pef_console.stage import Move
from pef_lab.replay.stage import MEMORY
from pef_protocol.designs import Design, DesignName

SECURE_MEMORY: Final = 64 << 20
UNUSED: Final = 102
"""A GFN that the image does not use."""


class SteppedSession:
    """A live stage, the pair under it, and all that it has published."""

    def __init__(self, pair: SessionPair, design: DesignName, memory: int) -> None:
        self.pair = pair
        self.published: list[tuple[str, object]] = []
        self.stage = LiveStage(pair, design, self._publish, memory=memory, lpid=None)
        self.frames: list[dict[str, Any]] = []

    def _publish(self, kind: str, content: object) -> None:
        self.published.append((kind, content))

    @property
    def frame(self) -> dict[str, Any]:
        """Return the frame of now, which fits its bound."""
        frame = self.stage.frame()
        assert len(json.dumps(frame, separators=(",", ":"))) <= LARGEST
        self.frames.append(frame)
        return frame

    async def move(
        self, actor: str, action: str, gfn: int | None = None, fault: str | None = None
    ) -> dict[str, Any]:
        """Make a move and return the frame after it."""
        await self.stage.move(Move(actor=actor, action=action, gfn=gfn, fault=fault))
        return self.frame

    async def settle(self) -> dict[str, Any]:
        """Let everything go on until nothing is open, and return the frame."""
        await self.stage.run("quiescent")
        return self.frame

    async def boot(self) -> dict[str, Any]:
        """Make the VM secure."""
        await self.move("guest 0", "UV_ESM")
        return await self.settle()

    @property
    def held(self) -> dict[str, Any]:
        """Return the one message that is held."""
        (found,) = [call["held"] for call in self.frame["calls"] if call["held"]]
        return dict(found)

    async def release(self, action: Any) -> dict[str, Any]:
        """Do something with the one message that is held."""
        await self.stage.held(self.held["id"], action)
        return self.frame


@asynccontextmanager
async def session(
    pair: SessionPair, design: DesignName = Design.TRACKED, *, memory: int = MEMORY
) -> AsyncIterator[SteppedSession]:
    """Open a session with a VM of its own, and close it: that stops the pair, unless it is a `lent` one."""
    found = SteppedSession(pair, design, memory)
    try:
        await found.stage.begin()
        yield found
    finally:
        await found.stage.close()


def lent(pair: SessionPair) -> SessionPair:
    """Return a pair for a session that does not stop it."""
    return replace(pair, stack=AsyncExitStack(), another=_again(pair))


def _again(pair: SessionPair) -> Callable[[], Awaitable[SessionPair]]:
    async def another() -> SessionPair:
        return lent(replace(pair, traffic=HeldTraffic()))

    return another


def row_of(frame: dict[str, Any], gfn: int) -> dict[str, Any]:
    """Return the row of a frame that a GFN is in."""
    return next(row for row in frame["gfns"] if row["first"] <= gfn < row["first"] + row["count"])


def broken(frame: dict[str, Any]) -> dict[str, str]:
    """Return the verdicts that don't hold, with their sentences."""
    return {each["invariant"]: each["sentence"] for each in frame["verdicts"] if not each["holds"]}
