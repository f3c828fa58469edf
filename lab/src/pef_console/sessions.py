"""All sessions of a console: how many there may be, and when an idle one ends."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from pef_console.followers import Followers
from pef_console.session import ConsoleSession
from pef_console.stage import NotPossible, Publish, Stage


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a console takes upon itself; `idle` in seconds."""

    sessions: int = 64
    moves: int = 1000
    followers: int = 100
    idle: float = 3600


DEFAULT: Final = Limits()


class UnknownSession(LookupError):
    """There is no such session, or no longer (HTTP 404)."""


class Sessions:
    """The sessions by their ids. `new_id` makes ids; `clock` gives seconds that never go back."""

    def __init__(self, limits: Limits, new_id: Callable[[], str], clock: Callable[[], float]) -> None:
        self.limits = limits
        self._new_id = new_id
        self._clock = clock
        self._sessions: dict[str, ConsoleSession] = {}
        self._opening = 0

    def __len__(self) -> int:
        return len(self._sessions) + self._opening

    def all(self) -> list[ConsoleSession]:
        """Return all sessions, the oldest first."""
        return list(self._sessions.values())

    def find(self, session_id: str) -> ConsoleSession:
        """Return a session, which is in use from now; raise UnknownSession."""
        found = self._sessions.get(session_id)
        if found is None:
            raise UnknownSession("there is no such session: it has ended, or never was")
        found.used = self._clock()
        return found

    async def open(self, opened: Callable[[Publish], Awaitable[Stage]]) -> ConsoleSession:
        """Open a session; raise NotPossible where there are too many, and whatever `opened` raises."""
        if len(self) >= self.limits.sessions:
            raise NotPossible(f"there are {self.limits.sessions} sessions, and no more may be: end one first")
        session: ConsoleSession | None = None

        def publish(kind: str, content: object) -> None:
            if session is not None:
                session.publish(kind, content)

        self._opening += 1
        try:
            stage = await opened(publish)
        finally:
            self._opening -= 1
        session = ConsoleSession(self._new_id(), stage, Followers(self.limits.followers), self._clock())
        self._sessions[session.id] = session
        return session

    async def end(self, session_id: str, reason: str) -> None:
        """End a session; raise UnknownSession."""
        found = self._sessions.pop(session_id, None)
        if found is None:
            raise UnknownSession("there is no such session: it has ended, or never was")
        await found.close(reason)

    async def end_idle(self) -> list[str]:
        """End the sessions that nobody has used or followed for too long; return their ids."""
        now = self._clock()
        for each in self._sessions.values():
            if each.followers.count:
                each.used = now
        idle = [each.id for each in self._sessions.values() if now - each.used >= self.limits.idle]
        for session_id in idle:
            await self.end(session_id, "the session was idle for too long")
        return idle

    async def end_all(self, reason: str) -> None:
        """End every session."""
        for session_id in list(self._sessions):
            await self.end(session_id, reason)

    def say_bye(self, reason: str) -> None:
        """End every event stream, so that connections may close."""
        for each in self._sessions.values():
            each.followers.end(reason)
