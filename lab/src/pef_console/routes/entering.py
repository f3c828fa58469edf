"""Entering: the secret of the URL for a cookie; and what this console can do."""

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from pef_console.routes.needs import TheConsole, TheRight
from pef_console.security import Right

router = APIRouter(tags=["entering"])


class Secret(BaseModel):
    """The secret that stands behind `#secret=` in the printed URL."""

    model_config = ConfigDict(extra="forbid")

    secret: str = Field(max_length=200)


class About(BaseModel):
    """What this browser may do here. `stages`: per stage, why it can't be opened, or nothing."""

    version: str
    read_only: bool
    stages: dict[str, str]


@router.post("/enter")
def enter(given: Secret, console: TheConsole, response: Response) -> About:
    """Exchange the secret for a cookie."""
    found = console.entrance.enter(given.secret)
    if found is None:
        raise HTTPException(401, "this is not the secret of this console: open the URL that it printed")
    right, cookie = found
    response.set_cookie(console.entrance.cookie_name, cookie, path="/", httponly=True, samesite="strict")
    return _about(console, right)


@router.get("/about")
def about(console: TheConsole, right: TheRight) -> About:
    """Return what this browser may do here."""
    return _about(console, right)


def _about(console: TheConsole, right: Right) -> About:
    return About(version=console.version, read_only=right < Right.MOVE, stages=console.openers.why_not())
