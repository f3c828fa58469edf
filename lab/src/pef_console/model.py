"""The model stage: a session of the explorer, whose machines are those of both services."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar

from pef_console.machines import Machines
from pef_console.routes.opening import OpenModel
from pef_console.stage import Exported, ExportKind, Frame, Move, NotPossible, Publish, StageKind, Until
from pef_explorer.actions.move import VM
from pef_explorer.actions.move import Move as WorldMove
from pef_explorer.machines.faults import Fault
from pef_explorer.plan import Extra, Part
from pef_explorer.session import errors
from pef_explorer.session.export import mermaid
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.saved import saved
from pef_explorer.session.session import Session
from pef_kit.core.designs import UnknownDesign
from pef_lab.failures import WrongInput
from pef_lab.known_designs import known_name
from pef_lab.version import commit
from pef_protocol.designs import DesignName

T = TypeVar("T")
JSON: Final = "application/json"
COMMAND: Final = "a session of pef console"
NO_CURL: Final = "this session sends nothing over HTTP: only a live session can be exported as curl"


class ModelStage:
    """A session of the explorer. Each of its commands runs in the thread of the machines."""

    def __init__(self, machines: Machines, session: Session, frame: Frame, title: str) -> None:
        self.title = title
        self._machines = machines
        self._session = session
        self._frame = frame

    @classmethod
    async def opened(cls, machines: Machines, make: Callable[[], Session], title: str) -> Self:
        """Return the stage of the session that `make` makes; raise what it raises."""
        session, frame = await machines.run(lambda: cls._with_frame(make))
        return cls(machines, session, frame, title)

    @property
    def kind(self) -> StageKind:
        """Return what runs behind it."""
        return StageKind.MODEL

    @property
    def observing_changes(self) -> bool:
        """Tell that observing a page changes nothing."""
        return False

    def frame(self) -> Frame:
        """Return the frame at the cursor."""
        return self._frame

    async def move(self, move: Move) -> None:
        """Make a move: at most one step of one machine."""
        await self._do(lambda: self._session.move(world_move(move)))

    async def goto(self, node: int) -> None:
        """Set the cursor on a node."""
        await self._do(lambda: self._session.goto(node))

    async def run(self, until: Until) -> None:
        """Go forward until something is reached."""
        await self._do(lambda: self._session.run(until))

    async def back(self) -> None:
        """Set the cursor on the parent."""
        await self._do(self._session.back)

    async def forward(self) -> None:
        """Set the cursor on the child that was visited last, or on the first one."""
        await self._do(self._session.forward)

    async def export(self, kind: ExportKind) -> Exported:
        """Return the path to the cursor as a counterexample or a diagram, or the whole tree as JSON."""
        if kind == "curl":
            raise NotPossible(NO_CURL)
        return await self._machines.run(lambda: self._exported(kind))

    async def observe(self, gfn: int) -> Mapping[str, Any]:
        """Return both views of a GFN: the known octets of the small page, in words and as they are."""
        return await self._machines.run(lambda: self._page_view(gfn))

    async def copied(self, at: int | None, design: str | None, _: Publish) -> "ModelStage":
        """Return a model session with the path to `at` made once more."""
        wanted = None if design is None else require_design(design)
        title = f"{self.title}, on {design}" if design else self.title
        return await ModelStage.opened(
            self._machines, lambda: self._session.copy(at=at, design=wanted), title
        )

    async def close(self) -> None:
        """Leave the session to the collector: nothing else was started."""

    async def _do(self, work: Callable[[], object]) -> None:
        """Do a command. One that is not possible to its end shows how far it came."""

        def done() -> tuple[Frame, NotPossible | None]:
            reason = None
            try:
                with only_possible():
                    work()
            except NotPossible as found:
                reason = found
            return self._frame_of(self._session), reason

        self._frame, reason = await self._machines.run(done)
        if reason is not None:
            raise reason

    @classmethod
    def _with_frame(cls, make: Callable[[], Session]) -> tuple[Session, Frame]:
        with only_possible():
            session = make()
            return session, cls._frame_of(session)

    @classmethod
    def _frame_of(cls, session: Session) -> Frame:
        return session.frame().model_dump(mode="json")

    def _exported(self, kind: ExportKind) -> Exported:
        if kind == "json":
            return Exported(json.dumps(saved(self._session), indent=1) + "\n", JSON, "session.json")
        with only_possible():
            content = self._session.counterexample(command=COMMAND, commit=commit())
        if kind == "mermaid":
            return Exported("\n".join(mermaid(content)) + "\n", "text/plain", "session.mmd")
        return Exported(json.dumps(content, indent=1) + "\n", JSON, "counterexample.json")

    def _page_view(self, gfn: int) -> Mapping[str, Any]:
        run = next(
            (each for each in self._frame["gfns"] if each["first"] <= gfn < each["first"] + each["count"]),
            None,
        )
        if run is None:
            raise NotPossible(f"this system has no GFN {gfn}")
        guest, host = self._session.page(gfn)
        return {
            "gfn": gfn,
            "guest": {"by": "guest", "bytes_hex": (guest or b"").hex(), "words": run["guest_page"]},
            "host": {"by": "host", "bytes_hex": (host or b"").hex(), "words": run["host_page"]},
            "changed": [],
        }


async def open_model(machines: Machines, moves: int, given: OpenModel) -> ModelStage:
    """Open a new system of the model; raise WrongInput for a design that is none."""
    design = require_design(given.design)
    wanted = given.system
    extras = {Extra(name) for name in wanted.extras} | (
        {Extra.MEASURED_PLUG} if wanted.measured_plug else set()
    )
    image = tuple(Part(part) for part in wanted.image)

    def make() -> Session:
        plan = plan_of_session(design, image, wanted.plug, wanted.vcpus, frozenset(extras))
        return Session(plan, limit=moves)

    return await ModelStage.opened(machines, make, f"a new system, {design}")


@contextmanager
def only_possible() -> Iterator[None]:
    """Raise the console's NotPossible for the session's."""
    try:
        yield
    except (errors.NotPossible, errors.SessionFull) as reason:
        raise NotPossible(str(reason)) from None


def world_move(move: Move) -> WorldMove:
    """Return a move in the explorer's own type; raise NotPossible for a fault that is none."""
    try:
        fault = None if move.fault is None else Fault(move.fault)
    except ValueError:
        raise NotPossible(f"there is no fault {move.fault!r}") from None
    return WorldMove(move.actor, move.action, VM if move.gfn is None else move.gfn, fault)


def require_design(name: str) -> DesignName:
    """Return the name of a known design; raise WrongInput for any other."""
    try:
        return known_name(name)
    except UnknownDesign as unknown:
        raise WrongInput(f"{name!r:.80}: {unknown}") from None
