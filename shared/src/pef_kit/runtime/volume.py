"""The directory through which both sides map one normal memory: a file per Hypervisor, a lock per side.

A Hypervisor makes a new file, under a name that cannot come again, and holds a lock on the directory for as
long as it lives. So a new one never has the memory of the one before, and what a dead or paused process still
writes falls into a file that nobody else maps.

Source: rule 5 of ARCHITECTURE.md, "Identity and time".
"""

import fcntl
import os
import re
from pathlib import Path
from typing import Final

from pef_kit.runtime.bus import NormalMemory
from pef_protocol.events import Side
from pef_protocol.identity import InstanceId

PREFIX: Final = "normal-memory-"
_FORM: Final = re.compile(PREFIX + "[0-9a-f]{32}")


class VolumeTaken(Exception):
    """Another process holds this side's lock on the directory."""


class Misnamed(ValueError):
    """A name that no file of normal memory has."""


class Volume:
    """The directory, for `side`; raise VolumeTaken where another process is that side already."""

    def __init__(self, directory: str | Path, side: Side) -> None:
        self._directory = Path(directory)
        path = self._directory / f"{side}.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            message = f"another {side} holds {path}: stop it, or give this one a directory of its own"
            raise VolumeTaken(message) from None

    @staticmethod
    def name_of(instance: InstanceId) -> str:
        """Return the name of the file of one run of the Hypervisor."""
        return PREFIX + instance

    def create(self, instance: InstanceId, size: int) -> NormalMemory:
        """Make and map the file of a run that begins, `size` bytes, empty."""
        return NormalMemory(self._directory / self.name_of(instance), size, create=True)

    def open(self, name: str, size: int) -> NormalMemory:
        """Map the file of that name, which its owner has made; raise Misnamed, OSError or ValueError.

        Trust: the name is the peer's. Only one of the fixed form is looked for, and no link is followed.
        """
        if not _FORM.fullmatch(name):
            message = "not the name of a file of normal memory"
            raise Misnamed(message)
        return NormalMemory(self._directory / name, size)

    def remove_others(self, instance: InstanceId) -> None:
        """Remove the files of every other run: the peer maps that of `instance` by now."""
        for path in self._directory.glob(PREFIX + "*"):
            if path.name != self.name_of(instance):
                path.unlink(missing_ok=True)

    def remove(self, instance: InstanceId) -> None:
        """Remove the file of a run that ends."""
        (self._directory / self.name_of(instance)).unlink(missing_ok=True)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)
