"""A scene, saved so that thousands of cases can begin with it.

Objects are pickled, so that each case has its own. Pages are not: all cases use the same memory and frames,
one case after the other, and their few known bytes are put back.
"""

import io
import pickle
from typing import Any, Final

from interleavings.machines import NotedSealer
from interleavings.operations import Fixture
from pef_explorer.machines.small_memory import HeapFrames, HeapMemory
from pef_hypervisor.designs import DesignRow
from pef_ultravisor.machine_key import MachineKey

KEPT: Final = (HeapMemory, HeapFrames, MachineKey, DesignRow)
"""What is the same object in each case."""


class _Writer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.kept: list[Any] = []

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, KEPT):
            return None
        for place, each in enumerate(self.kept):
            if each is obj:
                return place
        self.kept.append(obj)
        return len(self.kept) - 1


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(file)
        self._kept = kept

    def persistent_load(self, pid: int) -> Any:
        return self._kept[pid]


class Saved:
    """A scene in which no operation is open."""

    def __init__(self, fixture: Fixture) -> None:
        file = io.BytesIO()
        writer = _Writer(file)
        writer.dump(fixture)
        self._objects = file.getvalue()
        self._kept = writer.kept
        self._known = [
            (each.known, each.known.copy())
            for each in self._kept
            if isinstance(each, HeapMemory | HeapFrames)
        ]
        self._noted = dict(NotedSealer.noted)

    def again(self) -> Fixture:
        """Return the scene as it was; the one that was returned before is used no more."""
        for known, before in self._known:
            known[:] = before
        NotedSealer.noted.clear()
        NotedSealer.noted.update(self._noted)
        fixture: Fixture = _Reader(io.BytesIO(self._objects), self._kept).load()
        return fixture
