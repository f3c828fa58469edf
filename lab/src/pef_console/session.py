"""One session: a stage, one command at a time, and those who follow it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pef_console.followers import FRAME, Followers
from pef_console.stage import NotPossible, Stage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame as it is sent, to whoever asked and to all followers."""

    node: int
    text: str


class CursorMoved(NotPossible):
    """Somebody else moved the cursor: the command was given at another node."""


class ConsoleSession:
    """A stage with its followers. Commands are carried out one after the other.

    `used` is the time of the last command, in seconds of the clock that the caller has.
    """

    def __init__(self, session_id: str, stage: Stage, followers: Followers, now: float) -> None:
        self.id = session_id
        self.stage = stage
        self.followers = followers
        self.used = now
        self._lock = asyncio.Lock()
        self._frame = self._published_frame()

    @property
    def frame(self) -> EncodedFrame:
        """Return the newest frame."""
        return self._frame

    def publish(self, kind: str, content: object) -> None:
        """Send an event to all followers; `frame` sends the stage's frame of now."""
        if kind == FRAME:
            self._frame = self._published_frame()
        else:
            self.followers.publish(kind, json.dumps(content, separators=(",", ":")))

    async def command(self, if_at: int | None, act: Callable[[Stage], Awaitable[None]]) -> EncodedFrame:
        """Carry a command out, and return the frame after it.

        Raise CursorMoved where the cursor is not at `if_at`, and NotPossible where the stage refuses.
        """
        async with self._lock:
            if if_at is not None and if_at != self._frame.node:
                raise CursorMoved(f"the cursor has moved: it is at {self._frame.node}, not at {if_at}")
            try:
                await act(self.stage)
            except NotPossible:
                if self.stage.frame()["node"] != self._frame.node:  # it came so far, and no further
                    self._frame = self._published_frame()
                raise
            self._frame = self._published_frame()
            return self._frame

    async def inquiry(self, act: Callable[[Stage], Awaitable[T]]) -> T:
        """Return what `act` finds at the stage, while no command runs."""
        async with self._lock:
            return await act(self.stage)

    async def close(self, reason: str) -> None:
        """End all streams, wait for the command that runs, and stop the stage."""
        self.followers.end(reason)
        async with self._lock:
            await self.stage.close()

    def _published_frame(self) -> EncodedFrame:
        frame = self.stage.frame()
        head = {"id": self.id, "stage": self.stage.kind.value, "seq": self.followers.next_seq()}
        encoded = EncodedFrame(frame["node"], json.dumps(frame | head, separators=(",", ":")))
        self.followers.publish(FRAME, encoded.text)
        return encoded
