"""Where in the memory of another process given bytes lie, by kind of mapping.

Frames of secure memory are told from everything else by what the Ultravisor asked the kernel for, and by
nothing else that it says itself: private mappings without a file that are kept from dumps (`dd`) and from
children (`dc`).

Source: proc(5), /proc/PID/smaps, VmFlags; /proc/PID/mem.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from harness.canaries import extents

CHUNK: Final = 4 << 20
HEADER: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ \d+ *(.*)")
OF_THE_KERNEL: Final = ("[vvar", "[vdso", "[vsyscall")
FRAME_FLAGS: Final = {"dd", "dc"}


class Place(StrEnum):
    """A kind of mapping. `HEAP`: any private memory without a file that is neither frames nor a stack."""

    FRAMES = "frames"
    NORMAL_MEMORY = "normal memory"
    HEAP = "heap"
    STACK = "stack"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class MappedRange:
    """What its process can read at addresses `start` to `end`, from byte `offset` of the file `name`."""

    start: int
    end: int
    offset: int
    private: bool
    name: str
    flags: frozenset[str]

    def place(self, normal_memory: Path) -> Place:
        """Return what the mapping is."""
        if self.name.removesuffix(" (deleted)") == str(normal_memory):
            return Place.NORMAL_MEMORY
        if self.name.startswith("[stack"):
            return Place.STACK
        if self.name.startswith("/"):
            return Place.FILE
        return Place.FRAMES if self.private and not self.name and self.flags >= FRAME_FLAGS else Place.HEAP


def may_read(pid: int) -> bool:
    """Tell whether this test may read the memory of process `pid`: of one not dumpable, only root may."""
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        return False
    return True


def mapped_ranges(pid: int) -> Iterator[MappedRange]:
    """Yield the mappings of process `pid` that it can read itself."""
    header, text = None, Path(f"/proc/{pid}/smaps").read_text(encoding="ascii")
    for line in text.splitlines():
        if match := HEADER.fullmatch(line):
            header = match
        elif line.startswith("VmFlags:") and header is not None:
            start, end, offset = (int(header[part], 16) for part in (1, 2, 4))
            if header[3][0] == "r" and not header[5].startswith(OF_THE_KERNEL):
                flags = frozenset(line.split()[1:])
                yield MappedRange(start, end, offset, header[3][3] == "p", header[5], flags)


def places_of(pid: int, normal_memory: Path, secrets: Mapping[str, bytes]) -> dict[str, set[Place]]:
    """Return where each of `secrets` lies in the memory of process `pid`, as it is or as hexadecimal digits.

    Of normal memory, whose file is sparse, only what is allocated is read: to read a hole would fill it.
    """
    forms = [(name, form) for name, secret in secrets.items() for form in (secret, secret.hex().encode())]
    found: dict[str, set[Place]] = {name: set() for name in secrets}
    handle = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for mapped in mapped_ranges(pid):
            place = mapped.place(normal_memory)
            parts = [(mapped.start, mapped.end)]
            if place is Place.NORMAL_MEMORY:
                parts = list(_allocated(mapped, normal_memory))
            for start, end in parts:
                for content in _read(handle, start, end, max(len(form) for _, form in forms)):
                    for name, form in forms:
                        if form in content:
                            found[name].add(place)
    finally:
        os.close(handle)
    return found


def _allocated(mapped: MappedRange, file: Path) -> Iterator[tuple[int, int]]:
    for offset, length in extents(file) if file.exists() else ():
        first = max(mapped.start, mapped.start + offset - mapped.offset)
        last = min(mapped.end, mapped.start + offset + length - mapped.offset)
        if first < last:
            yield first, last


def _read(handle: int, start: int, end: int, longest: int) -> Iterator[bytes]:
    """Yield the bytes from `start` up to `end` in chunks that overlap by `longest` bytes."""
    for at in range(start, end, CHUNK):
        try:
            yield os.pread(handle, min(CHUNK + longest, end - at), at)
        except OSError:  # unmapped meanwhile, or a device's
            return
