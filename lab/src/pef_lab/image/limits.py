"""What no machine would open is not built: each limit of a guest image, checked where the image is made.

The limits are facts of the form, not rules of a side: UV_ESM refuses what goes beyond them. Each function
raises ValueError, whose text names the limit in one line.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from pef_protocol.esm_blob import BLOB_LIMIT, FILE_NAME, FILE_NAME_LIMIT, FILES_LIMIT

BOUNCE_RESERVATIONS: Final = 2
"""Reservations that the Ultravisor adds to a device tree: bounce pages of RTAS and of the TPM."""
RESERVATION_SIZE: Final = 16
"""Bytes of a reservation in a device tree."""
SHOWN: Final = 80
"""Most characters of a name that a message shows."""


def check_file_name(name: str) -> None:
    """Refuse a name that an attached file can't have."""
    if len(name) > FILE_NAME_LIMIT or not FILE_NAME.fullmatch(name):
        shown = repr(name[:SHOWN]) + ("..." if len(name) > SHOWN else "")
        message = (
            f"attached file {shown}: a name is 1 to {FILE_NAME_LIMIT} printable ASCII characters, no space"
        )
        raise ValueError(message)


def check_file_names(names: Iterable[str]) -> None:
    """Refuse names that can't be, that are too many, or that stand twice."""
    known: set[str] = set()
    for name in names:
        check_file_name(name)
        if name in known:
            message = f"attached file {name!r}: another one has the same name"
            raise ValueError(message)
        known.add(name)
    if len(known) > FILES_LIMIT:
        message = f"{len(known):,} attached files: an ESM blob has at most {FILES_LIMIT:,}"
        raise ValueError(message)


def check_blob_size(size: int) -> None:
    """Refuse an ESM blob, or what is to be in it, of more bytes than a machine opens."""
    if size > BLOB_LIMIT:
        message = f"{size:,} bytes of ESM blob and attached files: a machine opens at most {BLOB_LIMIT:,}"
        raise ValueError(message)


def check_files(files: Mapping[str, bytes]) -> None:
    """Refuse files that no ESM blob can hold, before anything is made of them."""
    check_file_names(files)
    check_blob_size(sum(map(len, files.values())))


def check_public_key(key: bytes, size: int) -> None:
    """Refuse a machine's public key of another size than `size` bytes."""
    if len(key) != size:
        message = f"a machine's public key of {len(key)} bytes: it has {size}"
        raise ValueError(message)


def check_bootargs(bootargs: str) -> None:
    """Refuse boot arguments that are no text, or end before their end."""
    try:
        bootargs.encode()
    except UnicodeEncodeError:
        message = f"bootargs {bootargs[:SHOWN]!r}: not UTF-8"
        raise ValueError(message) from None
    if "\0" in bootargs:
        message = f"bootargs {bootargs[:SHOWN]!r}: a NUL within them"
        raise ValueError(message)


def check_tree_size(size: int, room: int, bootargs: str) -> None:
    """Refuse bootargs with which a device tree of `size` bytes leaves no room for what a machine adds to it.

    `room` is how many bytes the tree may have with that.
    """
    beyond = size + BOUNCE_RESERVATIONS * RESERVATION_SIZE - room
    if beyond > 0:
        length = len(bootargs.encode())
        cells = (length + 4 - length % 4 - beyond) // 4  # with their NUL, they are filled up to whole cells
        most = 4 * cells - 1
        message = f"bootargs of {length:,} bytes: the device tree has room for {most:,}"
        raise ValueError(message)
