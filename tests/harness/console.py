"""A console in this process, with a stage that only counts: its model is another test's subject."""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from fastapi import FastAPI

from pef_console.app import build_app
from pef_console.catalogue import Catalogue
from pef_console.openers import Openers
from pef_console.routes.needs import Console
from pef_console.security import Entrance, Right
from pef_console.sessions import Limits, Sessions
from pef_console.stage import Exported, ExportKind, Frame, Move, NotPossible, Publish, StageKind, Until

PORT: Final = 8100
HOST: Final = f"127.0.0.1:{PORT}"
URL: Final = f"http://{HOST}"
SECRETS: Final = {Right.MOVE: "the secret to move", Right.WATCH: "the secret to watch"}
LIMITS: Final = Limits(sessions=3, moves=10, followers=4, idle=100)


class CountingStage:
    """A stage whose cursor is a number. Nobody can make the move "never"."""

    kind = StageKind.MODEL
    title = "a number"
    observing_changes = False

    def __init__(self, publish: Publish) -> None:
        self.publish = publish
        self.at = 0
        self.frames = 0
        self.commands: list[str] = []
        self.closed = False

    def frame(self) -> Frame:
        """Return the number, and count how often it was asked for."""
        self.frames += 1
        return {"node": self.at, "moves": []}

    async def move(self, move: Move) -> None:
        """Count one up."""
        if move.action == "never":
            raise NotPossible("nobody can do that")
        self._count("move", self.at + 1)

    async def goto(self, node: int) -> None:
        """Go to any number."""
        self._count("goto", node)

    async def run(self, until: Until) -> None:
        """Go to 100."""
        self._count(f"run {until}", 100)

    async def back(self) -> None:
        """Count one down."""
        if not self.at:
            raise NotPossible("This is the start.")
        self._count("back", self.at - 1)

    async def forward(self) -> None:
        """Count one up."""
        self._count("forward", self.at + 1)

    async def export(self, kind: ExportKind) -> Exported:
        """Return the number as text."""
        return Exported(str(self.at), "text/plain", f"number.{kind}")

    async def observe(self, gfn: int) -> Mapping[str, Any]:
        """Return the GFN."""
        return {"gfn": gfn, "changed": []}

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def _count(self, command: str, at: int) -> None:
        self.commands.append(command)
        self.at = at


@dataclass
class Consoles:
    """A console with all that a test changes: the clock, the stages that were opened."""

    limits: Limits = LIMITS
    now: float = 0.0
    stages: list[CountingStage] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.console = Console(
            Entrance(SECRETS, PORT),
            Sessions(self.limits, lambda: f"session-{next(numbers)}", lambda: self.now),
            Openers({"model": self.open, "file": self.open}, {"live": "there is no pair"}),
            Catalogue(),
            "pef 0.0.0",
        )
        self.app: FastAPI = build_app(self.console, frozenset({HOST}))

    async def open(self, _: Any, publish: Publish) -> CountingStage:
        """Open a counting stage."""
        self.stages.append(CountingStage(publish))
        return self.stages[-1]

    @asynccontextmanager
    async def client(self, right: Right | None = Right.MOVE) -> AsyncIterator[httpx.AsyncClient]:
        """Give a client that has entered with a right, or not at all."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            if right is not None:
                answer = await client.post("/api/v1/enter", json={"secret": SECRETS[right]})
                assert answer.status_code == 200
            yield client


async def opened(client: httpx.AsyncClient) -> str:
    """Open a session of the model, and return its path."""
    answer = await client.post("/api/v1/sessions", json={"stage": "model"})
    assert answer.status_code == 201, answer.text
    return f"/api/v1/sessions/{answer.json()['id']}"
