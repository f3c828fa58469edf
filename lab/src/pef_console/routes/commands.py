"""Commands at the cursor of a session. All return the frame after them; 409 says why not, with the frame."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from pef_console.routes.needs import TheSession, moving
from pef_console.routes.sessions import as_answer
from pef_console.stage import HeldAction, HoldsMessages, Move, NotPossible, Stage, Until

router = APIRouter(prefix="/sessions/{session_id}", tags=["commands"], dependencies=[moving])


class Command(BaseModel):
    """A command; `if_at`: carried out only where the cursor is at this node."""

    model_config = ConfigDict(extra="forbid")

    if_at: int | None = Field(default=None, ge=0)


class MoveCommand(Command, Move):
    """A move at the cursor."""


class GotoCommand(Command):
    """The cursor goes to a node."""

    node: int = Field(ge=0)


class RunCommand(Command):
    """Forward until something is reached."""

    until: Until


class HeldCommand(Command):
    """Something is done with a held message."""

    action: HeldAction


@router.post("/move", response_model=dict[str, Any])
async def move(session: TheSession, given: MoveCommand) -> Response:
    """Make a move."""
    wanted = Move(**given.model_dump(exclude={"if_at"}))
    return as_answer(await session.command(given.if_at, lambda stage: stage.move(wanted)))


@router.post("/goto", response_model=dict[str, Any])
async def goto(session: TheSession, given: GotoCommand) -> Response:
    """Set the cursor on a node."""
    return as_answer(await session.command(given.if_at, lambda stage: stage.goto(given.node)))


@router.post("/run", response_model=dict[str, Any])
async def run(session: TheSession, given: RunCommand) -> Response:
    """Go forward until something is reached."""
    return as_answer(await session.command(given.if_at, lambda stage: stage.run(given.until)))


@router.post("/back", response_model=dict[str, Any])
async def back(session: TheSession, given: Command) -> Response:
    """Set the cursor on the parent."""
    return as_answer(await session.command(given.if_at, lambda stage: stage.back()))


@router.post("/forward", response_model=dict[str, Any])
async def forward(session: TheSession, given: Command) -> Response:
    """Set the cursor on the child that was visited last, or on the first one."""
    return as_answer(await session.command(given.if_at, lambda stage: stage.forward()))


@router.post("/held/{held}", response_model=dict[str, Any])
async def held_message(session: TheSession, held: str, given: HeldCommand) -> Response:
    """Do something with a held message."""

    async def act(stage: Stage) -> None:
        if not isinstance(stage, HoldsMessages):
            raise NotPossible(f"a {stage.kind} session holds no messages")
        await stage.held(held, given.action)

    return as_answer(await session.command(given.if_at, act))
