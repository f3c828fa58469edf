"""What the routes depend on: the console, the session that a path names, and the right to move."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyCookie

from pef_console.catalogue import Catalogue
from pef_console.openers import Openers
from pef_console.security import COOKIE, Entrance, Right
from pef_console.session import ConsoleSession
from pef_console.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Console:
    """What one console consists of."""

    entrance: Entrance
    sessions: Sessions
    openers: Openers
    catalogue: Catalogue
    version: str = ""


_SCHEME = APIKeyCookie(
    name=COOKIE, auto_error=False, description="Given for the secret by POST /api/v1/enter."
)


def _console(request: Request) -> Console:
    found: Console = request.app.state.console
    return found


TheConsole = Annotated[Console, Depends(_console)]


def right_to_watch(
    request: Request, console: TheConsole, _: Annotated[str | None, Security(_SCHEME)]
) -> Right:
    """Return the right of the cookie; 401 where there is none."""
    right = console.entrance.right_of(request.cookies.get(console.entrance.cookie_name))
    if right is None:
        raise HTTPException(401, "open the URL that `pef console` printed: this browser has not entered yet")
    return right


def right_to_move(right: Annotated[Right, Depends(right_to_watch)]) -> Right:
    """Return the right; 403 for a follower."""
    if right < Right.MOVE:
        raise HTTPException(403, "this browser may watch only")
    return right


def _session(session_id: str, console: TheConsole) -> ConsoleSession:
    return console.sessions.find(session_id)


TheRight = Annotated[Right, Depends(right_to_watch)]
TheSession = Annotated[ConsoleSession, Depends(_session)]
watching = Depends(right_to_watch)
moving = Depends(right_to_move)
