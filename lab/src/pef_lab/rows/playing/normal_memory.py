"""Normal memory over HTTP, as the Ultravisor reaches it at its owner: by real address, never by a mapping."""

import struct
from collections.abc import Sequence
from typing import Final, TypeAlias

import httpx

from pef_lab.failures import Unanswered
from pef_lab.rows.doors import ULTRAVISOR, Doors
from pef_protocol.http import NORMAL_MEMORY_PATH, OCTETS

Piece: TypeAlias = tuple[int, int]
"""A real address and a length, in bytes."""
FORM: Final = {"content-type": OCTETS}


async def read_normal(owner: Doors, *pieces: Piece) -> bytes:
    """Return the bytes of all `pieces`, one after another; raise Unanswered where their owner gives none."""
    path = NORMAL_MEMORY_PATH + "read"
    answer = await owner.ask(ULTRAVISOR, "POST", path, content=_rows(pieces), headers=FORM)
    wanted = sum(length for _, length in pieces)
    if answer.status_code != httpx.codes.OK or len(answer.content) != wanted:
        reason = f"HTTP status {answer.status_code}, {len(answer.content)} bytes for {wanted}"
        raise Unanswered(f"{path} at the {owner.name}", reason)
    return answer.content


async def write_normal(owner: Doors, pieces: Sequence[Piece], content: bytes) -> None:
    """Write `content` into `pieces`, one after another; raise Unanswered where their owner takes it not."""
    path = NORMAL_MEMORY_PATH + "write"
    body = struct.pack("<Q", len(pieces)) + _rows(pieces) + content
    answer = await owner.ask(ULTRAVISOR, "POST", path, content=body, headers=FORM)
    if answer.status_code != httpx.codes.NO_CONTENT:
        raise Unanswered(f"{path} at the {owner.name}", f"HTTP status {answer.status_code}")


def _rows(pieces: Sequence[Piece]) -> bytes:
    return b"".join(struct.pack("<QQ", *piece) for piece in pieces)
