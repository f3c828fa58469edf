"""Rows, stages and fake subjects for the tests of what plays rows."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from aiohttp import web

from pef_lab.between.server import Server
from pef_lab.rows.doors import HYPERVISOR, Doors
from pef_lab.rows.row import Finding, Kind, Level, Played, Row, Verdict
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Evidence, Subject
from pef_protocol.http import JSON, Role
from pef_protocol.quantities import Lpid
from pef_protocol.ultracalls import SvmTerminate

PATIENCE: Final = 0.05
"""Seconds: what is silent in these tests is so for ever."""
TOKENS: Final = {Role.HYPERVISOR: "token of the hypervisor", Role.OBSERVER: "token of the observer"}
SUCCESS: Final = (
    b'{"call":"UV_SVM_TERMINATE","code":{"name":"U_SUCCESS","number":0},'
    b'"outputs":{},"refused":[],"detail":""}'
)

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answering(body: bytes, kind: str = JSON, status: int = 200) -> Reply:
    """Answer every call with the same bytes."""

    async def reply(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=kind, status=status)

    return reply


@dataclass
class FakeSubject:
    """Answers calls by `reply`; it lives unless `dead`. `asked` are the paths of all requests."""

    reply: Reply
    dead: bool = False
    asked: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request, _: bytes) -> web.StreamResponse:
        """Answer one request."""
        self.asked.append(request.path)
        if request.path == "/livez" and not self.dead:
            return web.json_response({"live": True})
        return await self.reply(request)

    @property
    def calls(self) -> int:
        """Return how many calls of the protocol were made."""
        return sum(path.startswith("/v1/ultracalls/") for path in self.asked)


@asynccontextmanager
async def stage_for(
    subject: FakeSubject, tokens: dict[Role, str] | None = None, patience: float = 60.0
) -> AsyncIterator[Stage]:
    """Set a stage on which a fake Ultravisor is tested; patience in seconds."""
    async with Server(subject.handle) as server:
        doors = Doors("Ultravisor", server.url, TOKENS if tokens is None else tokens, "key", patience)
        stage = Stage(Subject.ULTRAVISOR, ultravisor=doors)
        try:
            yield stage
        finally:
            await stage.close()


def row(
    name: str,
    play: Callable[[Stage], Awaitable[Finding]] | None = None,
    *,
    of: Subject = Subject.ULTRAVISOR,
    level: Level = Level.MUST,
    patient: bool = False,
    call: str = "UV_SVM_TERMINATE",
    kind: Kind = Kind.RUNG,
) -> Row:
    """Return a row that makes a call and wants success, or one that plays something else."""
    return Row(
        f"uv/fake/{name}", kind, call, "what is promised", frozenset({of}), play or terminate, level, patient
    )


async def terminate(stage: Stage) -> Finding:
    """Make a call and expect success."""
    code = (await stage.ultravisor.call(HYPERVISOR, SvmTerminate(Lpid(1)))).code
    return Finding("U_SUCCESS", code, code == "U_SUCCESS")


async def fine(_: Stage) -> Finding:
    """Find what was expected, whoever is asked."""
    return Finding("fine", "fine", agrees=True)


async def wrong(_: Stage) -> Finding:
    """Find something else."""
    return Finding("U_P2, nothing changes", "U_SUCCESS", agrees=False, unchanged=Evidence.DIGEST)


def raising(fault: Exception) -> Callable[[Stage], Awaitable[Finding]]:
    """Return what plays a row by raising."""

    async def play(_: Stage) -> Finding:
        raise fault

    return play


def played(name: str, verdict: Verdict, *, level: Level = Level.MUST, cause: str = "") -> Played:
    """Return a row with a verdict."""
    finding = {
        Verdict.PASS: Finding("U_P2, nothing changes", "U_P2", agrees=True, unchanged=Evidence.INFERRED),
        Verdict.FAIL: Finding("U_P2, nothing changes", "U_SUCCESS", agrees=False, unchanged=Evidence.DIGEST),
    }.get(verdict)
    return Played(row(name, level=level), verdict, finding, cause, 0.25)


class CountedScene:
    """A scene that counts how often one of its class was set and struck: each class counts from 0."""

    set_so_far = 0
    struck_so_far = 0

    def __init_subclass__(cls) -> None:
        cls.set_so_far = cls.struck_so_far = 0

    @classmethod
    async def set(cls, _: Stage) -> Self:
        """Make the scene."""
        cls.set_so_far += 1
        return cls()

    async def infer(self) -> tuple[str, ...]:
        """Return what would differ."""
        return ("the same",)

    async def strike(self) -> None:
        """Take the scene away."""
        type(self).struck_so_far += 1
