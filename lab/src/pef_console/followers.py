"""Server-sent events of one session: each event is encoded once for all followers, and the latest wins."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Final

from fastapi.sse import ServerSentEvent

FRAME: Final = "frame"
BYE: Final = "bye"


class Followers:
    """All event streams of a session.

    Of each kind of event the newest one is kept. A follower that reads slowly misses older ones, never the
    newest. `most` streams may be open at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._newest: dict[str, tuple[int, ServerSentEvent]] = {}
        self._changed = asyncio.Event()
        self._ended = False
        self.seq = 0
        """The number of the newest event; numbers go up by one."""
        self.count = 0
        """Streams that are open."""

    @property
    def full(self) -> bool:
        """Tell whether no further stream may be opened."""
        return self.count >= self._most

    def next_seq(self) -> int:
        """Return the number that the next event gets."""
        return self.seq + 1

    def publish(self, kind: str, text: str) -> None:
        """Send an event whose JSON is `text` to all followers."""
        self.seq += 1
        self._newest[kind] = self.seq, ServerSentEvent(event=kind, raw_data=text, id=str(self.seq))
        self._wake()

    def end(self, reason: str) -> None:
        """Send `bye` with a reason, and end each stream after it."""
        if not self._ended:
            self._ended = True
            self.publish(BYE, json.dumps({"detail": reason}))

    async def stream(self, seen: int) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield the newest event of each kind, and each later one, but none up to number `seen`.

        A number that was never given is another session's, or an earlier console's: all is sent then.
        """
        last = seen if seen <= self.seq else 0
        self.count += 1
        try:
            while True:
                changed = self._changed
                for number, event in sorted(self._newest.values(), key=lambda pair: pair[0]):
                    if number > last:
                        last = number
                        yield event
                if self._ended:
                    return
                if last >= self.seq:
                    await changed.wait()
        finally:
            self.count -= 1

    def _wake(self) -> None:
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()
