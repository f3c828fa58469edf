"""The event stream of a session."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent

from pef_console.routes.needs import TheSession, watching
from pef_console.session import ConsoleSession

router = APIRouter(prefix="/sessions/{session_id}", tags=["events"], dependencies=[watching])


def _with_room(session: TheSession) -> ConsoleSession:
    if session.followers.full:
        raise HTTPException(503, "too many browsers follow this session")
    return session


@router.get("/events", response_class=EventSourceResponse)
async def events(
    session: Annotated[ConsoleSession, Depends(_with_room)],
    last_event_id: Annotated[str, Header()] = "0",
) -> AsyncIterator[ServerSentEvent]:
    """Send the newest frame, and each later one; a reader that is slow misses frames, never the newest."""
    seen = int(last_event_id) if last_event_id.isdecimal() else 0
    async for event in session.followers.stream(seen):
        yield event
