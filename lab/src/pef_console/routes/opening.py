"""What a session is opened with: the bodies of `POST /sessions`."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag


class Body(BaseModel):
    """A body in which nothing is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SystemWanted(Body):
    """The small system of the model stage, as a counterexample file has it."""

    image: tuple[Literal["brought", "shared", "unmigrated"], ...] = Field(
        default=("brought", "unmigrated"), min_length=1, max_length=8
    )
    plug: int = Field(default=1, ge=0, le=8)
    vcpus: int = Field(default=1, ge=1, le=2)
    measured_plug: bool = False
    extras: tuple[Literal["range", "old-ciphertext"], ...] = Field(default=(), max_length=2)


class LiveWanted(Body):
    """What a live session runs on: octets of memory of its VM, and of secure memory of a pair of its own.

    `lpid`: a VM that is there already is watched, and no other one is made.
    """

    memory: int = Field(default=16 << 20, ge=1 << 20, le=1 << 40)
    secure_memory: int | None = Field(default=None, ge=1 << 20, le=1 << 44)
    lpid: int | None = Field(default=None, ge=1)


class OpenModel(Body):
    """A new system in the model."""

    stage: Literal["model"]
    design: str = Field(default="tracked", max_length=80)
    system: SystemWanted = SystemWanted()


class OpenLive(Body):
    """A pair over HTTP."""

    stage: Literal["live"]
    design: str = Field(default="tracked", max_length=80)
    system: LiveWanted = LiveWanted()


class OpenFile(Body):
    """A file that `GET /files` lists, by its name."""

    file: str = Field(max_length=200)


class OpenUpload(Body):
    """The content of a file of the person: parsed JSON, or the text of a file of JSON lines."""

    upload: dict[str, Any] | str
    name: str = Field(default="an uploaded file", max_length=200)


class OpenCopy(Body):
    """The path of a session made again, to `at` or its cursor; on another design, if one is named."""

    of: str = Field(alias="copy", max_length=80)
    at: int | None = Field(default=None, ge=0)
    design: str | None = Field(default=None, max_length=80)


class OpenLesson(Body):
    """A lesson by its number."""

    lesson: str = Field(max_length=40)


KEYS: Final = ("file", "upload", "copy", "lesson")


def _kind(body: Any) -> str:
    """Return the tag of a body: the first key that says what is opened."""
    given = body if isinstance(body, Mapping) else {}
    found = next((key for key in KEYS if key in given), None)
    return found or ("live" if given.get("stage") == "live" else "model")


Opening: TypeAlias = Annotated[
    Annotated[OpenModel, Tag("model")]
    | Annotated[OpenLive, Tag("live")]
    | Annotated[OpenFile, Tag("file")]
    | Annotated[OpenUpload, Tag("upload")]
    | Annotated[OpenCopy, Tag("copy")]
    | Annotated[OpenLesson, Tag("lesson")],
    Discriminator(_kind),
]
