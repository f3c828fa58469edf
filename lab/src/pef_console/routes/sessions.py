"""Sessions: open, list, read and end."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel

from pef_console.routes.needs import TheConsole, TheSession, moving, watching
from pef_console.routes.opening import OpenCopy, Opening, OpenLive, OpenModel
from pef_console.session import EncodedFrame
from pef_console.stage import CanCopy, NotPossible, Publish, Stage

router = APIRouter(prefix="/sessions", tags=["sessions"])
JSON = "application/json"


class ListedSession(BaseModel):
    """A session in the list."""

    id: str
    stage: str
    title: str
    followers: int


def as_answer(frame: EncodedFrame, status: int = 200) -> Response:
    """Return a frame as it was encoded for all."""
    return Response(frame.text, status, media_type=JSON)


@router.post("", status_code=201, dependencies=[moving], response_model=dict[str, Any])
async def open_session(given: Annotated[Opening, Body()], console: TheConsole) -> Response:
    """Open a session, and return its first frame."""

    async def opened(publish: Publish) -> Stage:
        if isinstance(given, OpenCopy):
            return await _copied(given, console, publish)
        what = (
            given.stage
            if isinstance(given, OpenModel | OpenLive)
            else next(iter(given.model_fields_set & _KEYS))
        )
        return await console.openers.find(what)(given, publish)

    session = await console.sessions.open(opened)
    return as_answer(session.frame, 201)


_KEYS = {"file", "upload", "lesson"}


async def _copied(given: OpenCopy, console: TheConsole, publish: Publish) -> Stage:
    async def copy(stage: Stage) -> Stage:
        if not isinstance(stage, CanCopy):
            raise NotPossible(f"a {stage.kind} session can't be copied")
        return await stage.copied(given.at, given.design, publish)

    return await console.sessions.find(given.of).inquiry(copy)


@router.get("", dependencies=[watching])
async def list_sessions(console: TheConsole) -> list[ListedSession]:
    """List all sessions, the oldest first."""
    return [
        ListedSession(
            id=each.id, stage=each.stage.kind, title=each.stage.title, followers=each.followers.count
        )
        for each in console.sessions.all()
    ]


@router.get("/{session_id}", dependencies=[watching], response_model=dict[str, Any])
async def read_session(session: TheSession) -> Response:
    """Return the frame at the cursor."""
    return as_answer(session.frame)


@router.delete("/{session_id}", status_code=204, dependencies=[moving])
async def end_session(session_id: str, console: TheConsole) -> None:
    """End a session: its followers get `bye`."""
    await console.sessions.end(session_id, "somebody ended this session")
