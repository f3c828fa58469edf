"""Where a test looks for canaries beside what anybody can see: in a file's bytes, and in a process's."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pef_lab.hostile.canaries import CANARY_BYTES

CHUNK: Final = 16 << 20
MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ *(.*)")


def extents(path: Path) -> Iterator[tuple[int, int]]:
    """Yield (offset, bytes) of each part of a sparse file that is allocated."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = os.fstat(handle).st_size
        at = 0
        while at < end:
            try:
                at = os.lseek(handle, at, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                return
            hole = os.lseek(handle, at, os.SEEK_HOLE)
            yield at, hole - at
            at = hole
    finally:
        os.close(handle)


def file_contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what a sparse file holds, by name; holes are passed over."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for offset, length in extents(path):
            for at in range(offset, offset + length, CHUNK):
                some = min(CHUNK, offset + length - at) + CANARY_BYTES * 2
                yield "normal memory", os.pread(handle, some, at)
    finally:
        os.close(handle)


def process_contents(pid: int, sparse: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all that a process can read of its own memory, by mapping.

    Of a mapping of the file `sparse` only what is allocated there, for reading a hole would fill it.
    """
    allocated = list(extents(sparse))
    handle = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="ascii").splitlines():
            match = MAPPING.fullmatch(line)
            if match is None or not match[3].startswith("r") or match[5].startswith(("[vvar", "[vsyscall")):
                continue
            start, end, offset = (int(match[part], 16) for part in (1, 2, 4))
            ranges = [(start, end - start)]
            if match[5].startswith(str(sparse)):
                ranges = [
                    (start + first - offset, length)
                    for first, length in allocated
                    if offset <= first < offset + end - start
                ]
            for first, length in ranges:
                yield from _read(handle, first, length, f"process memory {match[5] or 'of its own'}")
    finally:
        os.close(handle)


def _read(handle: int, first: int, length: int, where: str) -> Iterator[tuple[str, bytes]]:
    for at in range(first, first + length, CHUNK):
        some = min(CHUNK + CANARY_BYTES * 2, first + length - at)
        try:
            yield where, os.pread(handle, some, at)
        except OSError:  # unmapped meanwhile, or a device's
            return
