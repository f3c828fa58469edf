"""Canaries: random bytes that fill pages, and the search for them wherever somebody might have put them.

All canaries of a flock begin with the same random bytes, so one pass over a memory finds any of them.
"""

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pef_protocol.quantities import PAGE_SIZE

CANARY_BYTES: Final = 32
PREFIX_BYTES: Final = 16
CHUNK: Final = 16 << 20
MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ *(.*)")


@dataclass(slots=True)
class Flock:
    """Canaries by what they stand for."""

    prefix: bytes = field(default_factory=lambda: secrets.token_bytes(PREFIX_BYTES))
    names: dict[bytes, str] = field(default_factory=dict)

    def page(self, name: str) -> bytes:
        """Return a page full of a new canary."""
        canary = self.prefix + secrets.token_bytes(CANARY_BYTES - PREFIX_BYTES)
        self.names[canary] = name
        return canary * (PAGE_SIZE // CANARY_BYTES)

    def found(self, where: str, content: bytes) -> set[str]:
        """Return which canaries `content` holds, as they are or as hexadecimal digits, and where."""
        found = set()
        for form, prefix in (("", self.prefix), (" in hexadecimal", self.prefix.hex().encode())):
            factor = 2 if form else 1
            at = content.find(prefix)
            while at >= 0:
                seen = content[at : at + factor * CANARY_BYTES]
                canary = _plain(seen) if form else seen
                found.add(f"{self.names.get(canary, 'a part of a canary')} in {where}{form}")
                at = content.find(prefix, at + factor * CANARY_BYTES)
        return found

    def in_all(self, contents: Iterable[tuple[str, bytes]]) -> set[str]:
        """Return which canaries are in any of the named contents, and in which."""
        return {each for where, content in contents for each in self.found(where, content)}


def _plain(digits: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b""


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
