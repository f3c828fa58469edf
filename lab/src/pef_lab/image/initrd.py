"""An initrd: a real "newc" cpio archive of a few readable files and one that fills it up.

Source: cpio(5), "New ASCII Format".
"""

from collections.abc import Mapping

FILE_MODE = 0o100644
PROGRAM_MODE = 0o100755
_TRAILER = "TRAILER!!!"
_FIELDS = 13
FILLER_NAME = "var/filler"


def build_initrd(*, size: int, release: str, filler: bytes) -> bytes:
    """Return an archive of exactly `size` bytes: files that name `release`, then as much `filler`.

    Raises ValueError where the readable files alone, or `filler`, don't reach.
    """
    files = {
        "init": (PROGRAM_MODE, b"#!/bin/sh\nmount -t proc proc /proc\nexec /bin/sh\n"),
        "etc/hostname": (FILE_MODE, b"secure-guest\n"),
        "etc/os-release": (FILE_MODE, f'NAME="PEF lab"\nVERSION="{release}"\n'.encode()),
    }
    bare = archive({**files, FILLER_NAME: (FILE_MODE, b"")})
    room = (size - len(bare)) & ~3
    if room < 0 or len(filler) < room:
        message = f"an initrd of {size} bytes: {len(bare)} are needed, {len(filler)} are at hand"
        raise ValueError(message)
    # The archive ends with zeroes, as the format allows.
    return archive({**files, FILLER_NAME: (FILE_MODE, filler[:room])}).ljust(size, b"\0")


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Return a cpio archive of `files`: mode and content by name."""
    entries = [
        _entry(number, name, mode, content)
        for number, (name, (mode, content)) in enumerate(files.items(), start=1)
    ]
    return b"".join([*entries, _entry(0, _TRAILER, 0, b"")])


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name size, check
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _padded(header + encoded) + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
