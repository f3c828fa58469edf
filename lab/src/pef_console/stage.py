"""What the routes need of a stage, whatever runs behind it: model, recorded or live."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

Frame: TypeAlias = dict[str, Any]
"""A frame as JSON, without `id`, `seq` and `stage`: a session adds these."""
Until: TypeAlias = Literal["quiescent", "end", "violation"]
HeldAction: TypeAlias = Literal["deliver", "lose", "repeat", "refuse", "busy", "corrupt"]
ExportKind: TypeAlias = Literal["counterexample", "mermaid", "json", "curl"]
Publish: TypeAlias = Callable[[str, object], None]
"""Sends an event to all followers of a session: its name ("page", "map", "lesson"), and what is sent as JSON.

"frame" sends the stage's frame as it is now, and ignores the second argument. Called in the event loop.
"""


class StageKind(StrEnum):
    """What runs behind a session."""

    MODEL = "model"
    """The machines of both services in the console's own process."""
    RECORDED = "recorded"
    """Nothing: a file."""
    LIVE = "live"
    """A pair of services over HTTP."""


class NotPossible(Exception):
    """The stage can't do that now; its text is the reason, one sentence (HTTP 409)."""


class Move(BaseModel):
    """A move, in the words of a counterexample file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    actor: str = Field(max_length=40)
    action: str = Field(max_length=80)
    gfn: int | None = Field(default=None, ge=0)
    fault: str | None = Field(default=None, max_length=40)


@dataclass(frozen=True, slots=True)
class Exported:
    """A session as a file: its text, its media type, and the name that it is saved by."""

    text: str
    media_type: str
    name: str


@dataclass(frozen=True, slots=True)
class MapOctets:
    """The map of a whole VM: one octet per cell and side, and what names this content (ETag)."""

    octets: bytes
    etag: str


class Stage(Protocol):
    """One run that a person steps through.

    A session gives it one command at a time. A command that returns has happened. One that raises NotPossible
    has changed nothing, but for `run`, which may have come a part of the way. `frame` returns what is to be
    seen now, and costs little: it is called in the event loop. What takes longer than a few milliseconds is
    done in a thread.
    """

    @property
    def kind(self) -> StageKind:
        """Return what runs behind it."""

    @property
    def title(self) -> str:
        """Return what it shows, in a few words, for the list of sessions."""

    @property
    def observing_changes(self) -> bool:
        """Tell whether `observe` may change the VM: it does where the host really reads."""

    def frame(self) -> Frame:
        """Return the frame at the cursor; `node` is the cursor."""

    async def move(self, move: Move) -> None:
        """Make a move at the cursor."""

    async def goto(self, node: int) -> None:
        """Set the cursor on a node that exists."""

    async def run(self, until: Until) -> None:
        """Go forward until something is reached."""

    async def back(self) -> None:
        """Set the cursor on the parent."""

    async def forward(self) -> None:
        """Set the cursor on the child that was visited last, or on the first one."""

    async def export(self, kind: ExportKind) -> Exported:
        """Return the path to the cursor as a file."""

    async def observe(self, gfn: int) -> Mapping[str, Any]:
        """Return how the guest and the host see a GFN: a `PageView`."""

    async def close(self) -> None:
        """Stop what it started. Called once, after the last command."""


@runtime_checkable
class HoldsMessages(Protocol):
    """A stage that holds messages on a wire."""

    async def held(self, held: str, action: HeldAction) -> None:
        """Do something with a held message; NotPossible where there is none of that name."""


@runtime_checkable
class HasMap(Protocol):
    """A stage that can show a whole VM."""

    async def map(self, cells: int) -> MapOctets:
        """Return the map in so many cells."""


@runtime_checkable
class CanCopy(Protocol):
    """A stage whose moves can be made again."""

    async def copied(self, at: int | None, design: str | None, publish: Publish) -> Stage:
        """Return a new stage on which the path to `at` was made again, on the design that is named."""


class Part(BaseModel):
    """A part of a lesson's goal, and whether it is done."""

    label: str
    done: bool


class Checked(BaseModel):
    """Whether a lesson's goal is reached, and why."""

    passed: bool
    sentence: str
    progress: list[Part] = []


class Hint(BaseModel):
    """Hint number `n` of `of`."""

    n: int
    of: int
    hint: str


@runtime_checkable
class HasLesson(Protocol):
    """A stage on which a lesson is worked on."""

    async def check(self, answers: Mapping[str, str]) -> Checked:
        """Tell whether the lesson's goal is reached, with these answers."""

    async def hint(self, n: int) -> Hint:
        """Return hint number `n`, from 1; NotPossible where there is none."""


Opener: TypeAlias = Callable[[Any, Publish], Awaitable[Stage]]
"""Opens a stage from the body of `POST /sessions` (a class of `pef_console.routes.opening`).

It raises `pef_lab.failures.WrongInput` (HTTP 422) for what can't be read, and NotPossible (409); what it
had started is stopped then.
"""
