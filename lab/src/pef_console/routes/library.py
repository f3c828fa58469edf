"""What can be opened and looked up: files, designs, calls and lessons."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from pef_console.routes.needs import TheConsole, watching
from pef_protocol.calls import CALLS

router = APIRouter(tags=["library"], dependencies=[watching])


class ShownCheck(BaseModel):
    """A check of a call: its code, and what it refuses."""

    check: str
    code: str
    sentence: str
    per_run: bool


class ShownCall(BaseModel):
    """An ultracall or a hypercall: its checks in order, and the codes that may come after all checks."""

    name: str
    sentence: str
    callers: list[str]
    arguments: list[str]
    source: str
    checks: list[ShownCheck]
    codes: list[str]


@router.get("/files")
def files(console: TheConsole) -> Sequence[Mapping[str, Any]]:
    """List the files that can be opened."""
    return console.catalogue.files


@router.get("/designs")
def designs(console: TheConsole) -> Sequence[Mapping[str, str]]:
    """List the designs, each with one sentence."""
    return console.catalogue.designs


@router.get("/lessons")
def lessons(console: TheConsole) -> Sequence[Mapping[str, Any]]:
    """List the lessons."""
    return console.catalogue.lessons()


@router.get("/calls/{name}")
def call(name: str) -> ShownCall:
    """Return what is known of a call: its check order, its codes and its source."""
    found = CALLS.get(name)
    if found is None:
        raise HTTPException(404, f"there is no call {name[:40]!r}")
    return ShownCall(
        name=found.name,
        sentence=str(found.request.__doc__).strip().splitlines()[0],
        callers=sorted(found.callers),
        arguments=list(found.arguments),
        source=found.source,
        checks=[
            ShownCheck(check=each.name, code=each.code.name, sentence=each.refuses, per_run=each.per_run)
            for each in found.check_order
        ],
        codes=sorted(code.name for code in found.later),
    )
