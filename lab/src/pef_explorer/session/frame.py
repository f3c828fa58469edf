"""A frame: all that a person sees at one node, as plain values.

As JSON it is at most 10 KB: old arrows and the beginning of the path are left out first, then moves that are
not possible. `arrows_before`, `path_before` and `moves_left_out` count what is not there.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_BYTES: Final = 9_600
"""Bytes of a frame without what grows as moves are made elsewhere: with it, it stays below 10 KB."""
GROWS: Final[Mapping[str, Any]] = {"children": (), "nodes": 0}
ARROWS: Final = 40
PATH: Final = 30
MOVES: Final = 60
FEW: Final = 6
"""Arrows, and nodes of the path, that stay as long as moves can be left out."""


class Shown(BaseModel):
    """A part of a frame."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)


class ShownSystem(Shown):
    """The small system: the part of each GFN of slot 0, the GFNs of slot 1, and the vCPUs."""

    image: tuple[str, ...]
    plug: int
    vcpus: int


class Marks(Shown):
    """What each side has noted of the whole VM."""

    hypervisor: tuple[str, ...]
    ultravisor: tuple[str, ...]


class ShownVm(Shown):
    """The VM as each side has it, with the pages that it holds of the pages that there are."""

    hypervisor: str
    ultravisor: str
    marks: Marks
    device_pages: tuple[int, int]
    frames: tuple[int, int]


class GfnRun(Shown):
    """GFNs of which both sides say the same. `joint` is "differs" only where nothing is open."""

    first: int
    count: int
    part: str
    hypervisor: str
    ultravisor: str
    joint: Literal["agrees", "in flight", "differs"]
    hv_marks: tuple[str, ...]
    uv_marks: tuple[str, ...]
    guest_page: str
    host_page: str


class StackEntry(Shown):
    """A call, and the side that answers it."""

    side: str
    call: str


class ShownCall(Shown):
    """An action that is under way, with the calls nested in it, the outermost first."""

    actor: str
    action: str
    gfn: int | None
    stack: tuple[StackEntry, ...]
    waits_for: str
    held: str | None = None


class Why(Shown):
    """Which check of a call gave a code, what it refuses, and where that is written."""

    check: str
    sentence: str
    source: str


class Arrow(Shown):
    """A message that arrived, or a note. `call` counts the actions of the path; `depth` the calls around."""

    node: int
    call: int
    depth: int
    start: Annotated[str, Field(alias="from")]
    end: Annotated[str, Field(alias="to")]
    text: str
    kind: Literal["ask", "answer", "access", "note"]
    code: str | None = None
    why: Why | None = None
    fault: str | None = None


class ShownMove(Shown):
    """A move that can be made, or can't: then `why_not` says why."""

    n: int
    actor: str
    action: str
    gfn: int | None
    fault: str | None
    label: str
    why_not: str


class PathStep(Shown):
    """A node on the way to the cursor."""

    node: int
    label: str
    outcome: str


class Verdict(Shown):
    """An invariant. Once broken it stays so: `node` is where it was broken first."""

    invariant: str
    holds: bool
    sentence: str
    node: int | None = None


class ShownCost(Shown):
    """What was sent on the way to the cursor."""

    ultracalls: int
    hypercalls: int
    gfns: int
    bytes: int


class Frame(Shown):
    """All that is to be seen at a node."""

    stage: Literal["model"] = "model"
    node: int
    parent: int | None
    children: tuple[int, ...]
    nodes: int
    design: str
    system: ShownSystem
    vm: ShownVm
    gfns: tuple[GfnRun, ...]
    calls: tuple[ShownCall, ...]
    arrows: tuple[Arrow, ...]
    arrows_before: int
    moves: tuple[ShownMove, ...]
    moves_left_out: int
    path: tuple[PathStep, ...]
    path_before: int
    verdicts: tuple[Verdict, ...]
    cost: ShownCost
    quiescent: bool
    violated: bool
    ended: str
    stopped: str
    lesson: str | None = None

    def as_json(self) -> bytes:
        """Return the frame as JSON."""
        return self.model_dump_json().encode()

    @property
    def size(self) -> int:
        """Return the bytes of the JSON, without what grows as moves are made elsewhere."""
        return len(self.model_copy(update=GROWS).as_json())

    def bounded(self) -> "Frame":
        """Return the frame without what makes it too long."""
        frame, moves = self, min(len(self.moves), MOVES)
        for share in (ARROWS, 24, 16, 12, 8, FEW):
            frame = self._cut(share, min(share, PATH), moves)
            if frame.size <= MOST_BYTES:
                return frame
        while frame.size > MOST_BYTES and moves > 1:
            moves = moves * 9 // 10
            frame = self._cut(FEW, FEW, moves)
        return frame

    def _cut(self, arrows: int, path: int, moves: int) -> "Frame":
        left = max(len(self.moves) - moves, 0)
        return self.model_copy(
            update={
                "arrows": self.arrows[-arrows:],
                "arrows_before": self.arrows_before + max(len(self.arrows) - arrows, 0),
                "path": self.path[-path:],
                "path_before": self.path_before + max(len(self.path) - path, 0),
                "moves": self.moves[:moves],
                "moves_left_out": left,
            }
        )
