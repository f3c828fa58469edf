"""What can be opened and looked up: files, designs, calls and lessons."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from pef_console.routes.needs import TheConsole, watching

router = APIRouter(tags=["library"], dependencies=[watching])


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
