"""Normal memory as its owner has it: given out to VMs, and served by real address.

A message of the bus can be held while bytes of a certain page are on their way.
"""

import struct
from typing import Final

from aiohttp import web

from pef_kit.runtime.bus import NORMAL_BASE, NormalMemory
from pef_lab.rows.playing.script import Held
from pef_lab.rows.playing.wire import NotOurs
from pef_lab.rows.subject import NoScene
from pef_protocol.http import OCTETS
from pef_protocol.quantities import PAGE_ORDER

SIZE: Final = 1 << 38
"""Bytes of normal memory; it costs what is touched."""
ROW: Final = struct.Struct("<QQ")
COUNT: Final = struct.Struct("<Q")


class OwnedMemory:
    """Normal memory that only we can map."""

    def __init__(self) -> None:
        self._memory = NormalMemory.unshared(SIZE)
        self._free = NORMAL_BASE
        self._holds: dict[int, Held] = {}

    def give(self, count: int) -> int:
        """Return the real address of `count` pages that were given to nobody yet."""
        if self._free + (count << PAGE_ORDER) > NORMAL_BASE + SIZE:
            raise NoScene("the played Hypervisor has no normal memory left")
        self._free += count << PAGE_ORDER
        return self._free - (count << PAGE_ORDER)

    def read(self, ra: int, length: int) -> bytes:
        """Return bytes."""
        return bytes(self._memory.at(ra, length))

    def write(self, ra: int, content: bytes) -> None:
        """Write bytes."""
        self._memory.at(ra, len(content))[:] = content

    def scrub(self, ra: int, count: int) -> None:
        """Zero `count` pages."""
        self._memory.discard(ra, count << PAGE_ORDER)

    def hold(self, ra: int) -> Held:
        """Hold the next message that names the page at `ra`."""
        held = self._holds[ra] = Held()
        return held

    async def carry(self, way: str, body: bytes) -> web.Response:
        """Answer a message of the bus, or raise NotOurs where it names none of ours."""
        writes = way == "write"
        start = COUNT.size if writes else 0
        end = start + ROW.size * (COUNT.unpack_from(body)[0] if writes else len(body) // ROW.size)
        pieces = list(ROW.iter_unpack(body[start:end]))
        for ra in [ra for ra in self._holds if any(0 <= ra - first < length for first, length in pieces)]:
            await self._holds.pop(ra).wait()
        try:
            views = [self._memory.at(ra, length) for ra, length in pieces]
        except ValueError as fault:
            raise NotOurs(422, str(fault)) from None
        if way == "zero":
            for ra, length in pieces:
                self._memory.discard(ra, length)
            return web.Response(status=204)
        if not writes:
            return web.Response(body=b"".join(views), content_type=OCTETS)
        for view in views:
            view[:] = body[end : end + len(view)]
            end += len(view)
        return web.Response(status=204)
