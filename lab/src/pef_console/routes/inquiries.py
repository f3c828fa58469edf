"""What is asked of a session beside its frame: a page, the map, a file, and a lesson's verdict and hint."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from pef_console.routes.needs import TheRight, TheSession, moving, right_to_move, watching
from pef_console.stage import ExportKind, HasLesson, HasMap, MapOctets, NotPossible, Stage

router = APIRouter(prefix="/sessions/{session_id}", tags=["inquiries"])
MOST_CELLS: Final = 1 << 16


class Observing(BaseModel):
    """Which GFN is looked at."""

    model_config = ConfigDict(extra="forbid")

    gfn: int = Field(ge=0)


class Checked(BaseModel):
    """Whether a lesson's end is reached, and why."""

    passed: bool
    sentence: str


class Hint(BaseModel):
    """The next hint of a lesson."""

    sentence: str


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
async def check(session: TheSession) -> Checked:
    """Tell whether the lesson's end is reached."""
    passed, sentence = await session.inquiry(lambda stage: _lesson_of(stage).check())
    return Checked(passed=passed, sentence=sentence)


@router.post("/hint", dependencies=[moving])
async def hint(session: TheSession) -> Hint:
    """Return the next hint of the lesson."""
    return Hint(sentence=await session.inquiry(lambda stage: _lesson_of(stage).hint()))


def _lesson_of(stage: Stage) -> HasLesson:
    if not isinstance(stage, HasLesson):
        raise NotPossible("no lesson is open in this session")
    return stage
