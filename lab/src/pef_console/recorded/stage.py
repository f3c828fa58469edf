"""The stage over a list of entries: a cursor, and nothing that runs."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pef_console.recorded.entries import NEXT, Recording
from pef_console.stage import Exported, ExportKind, Frame, Move, NotPossible, StageKind, Until

NO_MOVES: Final = "this is a recording: its next entry is all that can be gone to"


class RecordedStage:
    """A recording with a cursor in it. `closed` is called once nobody needs it any more."""

    def __init__(self, recording: Recording, closed: Callable[[], None] = lambda: None) -> None:
        self._recording = recording
        self._closed = closed
        self._at = 0

    @property
    def kind(self) -> StageKind:
        """Return what runs behind it."""
        return StageKind.RECORDED

    @property
    def title(self) -> str:
        """Return the title of the recording."""
        return self._recording.title

    @property
    def observing_changes(self) -> bool:
        """Tell that nothing is changed here."""
        return False

    def frame(self) -> Frame:
        """Return the frame at the cursor."""
        return self._recording.frame(self._at)

    async def move(self, move: Move) -> None:
        """Go to the next entry, which is the only move."""
        if move.model_dump() != NEXT:
            raise NotPossible(NO_MOVES)
        await self.forward()

    async def goto(self, node: int) -> None:
        """Set the cursor on a node."""
        if node > self._last:
            raise NotPossible(f"There is no node {node}.")
        self._at = node

    async def run(self, until: Until) -> None:
        """Go to the end, to the next entry with nothing open, or to the next one that breaks something."""
        await self.goto(self._reached(until))

    async def back(self) -> None:
        """Go to the entry before."""
        if not self._at:
            raise NotPossible("This is the start.")
        self._at -= 1

    async def forward(self) -> None:
        """Go to the next entry."""
        if self._at == self._last:
            raise NotPossible("This is the end of the recording.")
        self._at += 1

    async def export(self, kind: ExportKind) -> Exported:
        """Return the file itself, or its diagram."""
        if kind == "json":
            return Exported(self._recording.content, "application/json", "recording.json")
        if kind == "mermaid" and self._recording.mermaid:
            return Exported(self._recording.mermaid, "text/plain", "recording.mmd")
        raise NotPossible(f"this recording can't be exported as {kind}")

    async def observe(self, gfn: int) -> Mapping[str, Any]:
        """Refuse: no page is recorded."""
        raise NotPossible(f"the recording has no bytes of GFN {gfn}")

    async def close(self) -> None:
        """Say that nobody needs the recording any more."""
        self._closed()

    @property
    def _last(self) -> int:
        return len(self._recording.entries)

    def _reached(self, until: Until) -> int:
        if self._at == self._last:
            raise NotPossible("This is the end of the recording.")
        following = range(self._at + 1, self._last + 1)
        match until:
            case "end":
                return self._last
            case "violation":
                found = self._recording.violated_after(self._at)
                if found is None:
                    raise NotPossible("Nothing from here on is broken.")
                return found
            case "quiescent":
                entries = self._recording.entries
                return next((node for node in following if not entries[node - 1].calls), self._last)
