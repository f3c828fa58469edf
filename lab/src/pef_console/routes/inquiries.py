"""What is asked of a session beside its frame: a page, the map, a file, and a lesson's verdict and hint."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from pef_console.routes.needs import TheRight, TheSession, moving, right_to_move, watching
from pef_console.stage import Checked, ExportKind, HasLesson, HasMap, Hint, MapOctets, NotPossible, Stage

router = APIRouter(prefix="/sessions/{session_id}", tags=["inquiries"])
MOST_CELLS: Final = 1 << 16


class Observing(BaseModel):
    """Which GFN is looked at."""

    model_config = ConfigDict(extra="forbid")

    gfn: int = Field(ge=0)


class Answers(BaseModel):
    """Answers to the questions of a lesson, by their names."""

    model_config = ConfigDict(extra="forbid")

    answers: dict[str, Annotated[str, Field(max_length=1000)]] = Field(default={}, max_length=50)


class WantedHint(BaseModel):
    """Which hint is wanted."""

    model_config = ConfigDict(extra="forbid")

    n: int = Field(default=1, ge=1)


@router.post("/look")
async def observe(session: TheSession, given: Observing, right: TheRight) -> Mapping[str, Any]:
    """Return how the guest and the host see a GFN; a follower may only where that changes nothing."""
    if session.stage.observing_changes:
        right_to_move(right)
    seen = await session.inquiry(lambda stage: stage.observe(given.gfn))
    session.publish("page", seen)
    return seen


@router.get("/map", dependencies=[watching], response_class=Response)
async def read_map(
    session: TheSession,
    cells: Annotated[int, Query(ge=1, le=MOST_CELLS)],
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """Return the map of the whole VM as octets, or 304 where the reader has it already."""

    async def read(stage: Stage) -> MapOctets:
        if not isinstance(stage, HasMap):
            raise NotPossible(f"a {stage.kind} session has no map")
        return await stage.map(cells)

    found = await session.inquiry(read)
    etag = f'"{found.etag}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if if_none_match == etag:
        return Response(status_code=304, headers=headers)
    return Response(found.octets, media_type="application/octet-stream", headers=headers)


@router.get("/export", dependencies=[watching], response_class=Response)
async def export(session: TheSession, kind: Annotated[ExportKind, Query(alias="as")]) -> Response:
    """Return the path to the cursor as a file."""
    found = await session.inquiry(lambda stage: stage.export(kind))
    headers = {"content-disposition": f'attachment; filename="{found.name}"'}
    return Response(found.text, media_type=found.media_type, headers=headers)


@router.post("/check", dependencies=[moving])
async def check(session: TheSession, given: Answers | None = None) -> Checked:
    """Tell whether the lesson's goal is reached, here and to all followers."""
    answers = given.answers if given else {}
    found = await session.inquiry(lambda stage: _lesson_of(stage).check(answers))
    session.publish("lesson", found.model_dump())
    return found


@router.post("/hint", dependencies=[moving])
async def hint(session: TheSession, given: WantedHint | None = None) -> Hint:
    """Return a hint of the lesson."""
    n = given.n if given else 1
    return await session.inquiry(lambda stage: _lesson_of(stage).hint(n))


def _lesson_of(stage: Stage) -> HasLesson:
    if not isinstance(stage, HasLesson):
        raise NotPossible("no lesson is open in this session")
    return stage
