"""The memory bus: how normal memory is reached by real address.

`NormalMemory` is a mapping of the file that holds it, sparse, so that it costs what was touched. The
Hypervisor owns it; the Ultravisor maps the same file, or reaches it over HTTP by way of the owner. There
is no bus to secure memory.

Trust: a `Transfer` hands out views of memory that somebody else may write at any moment. Whoever reads
copies first and decides on the copy.
"""

import asyncio
import mmap
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from pef_kit.operations import PeerFailure, Transfer
from pef_kit.peer import Peer
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.wire import NORMAL_MEMORY_PATH

NORMAL_BASE: Final = 1 << 32
"""Real address at which normal memory begins."""

CHUNK: Final = 16 * PAGE_SIZE
"""Bytes that travel at once over HTTP."""

BLOCK: Final = 64 * PAGE_SIZE
"""Bytes that a thread moves at once where memory is mapped."""

LANES: Final = min(os.cpu_count() or 1, 4)
"""Threads that share one transfer."""

_MAP_NORESERVE: Final = 0x4000


class NormalMemory:
    """Normal memory from real address `NORMAL_BASE`, `size` bytes, mapped from the file at `path`."""

    def __init__(self, path: str | Path, size: int, *, create: bool = False) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        handle = os.open(path, flags, 0o600)
        try:
            if create:
                os.ftruncate(handle, size)
            self._map = mmap.mmap(handle, size, mmap.MAP_SHARED | _MAP_NORESERVE)
        finally:
            os.close(handle)
        self.size = size
        self.view = memoryview(self._map)

    @classmethod
    def unshared(cls, size: int) -> "NormalMemory":
        """Make normal memory that no other process can map; it is reached over HTTP, by its owner."""
        handle = os.memfd_create("pef-normal-memory", os.MFD_CLOEXEC)
        try:
            return cls(f"/proc/self/fd/{handle}", size, create=True)
        finally:
            os.close(handle)

    def holds(self, ra: int, length: int) -> bool:
        """Tell whether `length` bytes from real address `ra` all lie in normal memory."""
        return ra >= NORMAL_BASE and 0 <= length <= self.size - (ra - NORMAL_BASE)

    def at(self, ra: int, length: int) -> memoryview:
        """Return the bytes at `ra` as a view; raise ValueError outside normal memory."""
        if not self.holds(ra, length):
            message = f"{length} bytes at {ra:#x} are not normal memory"
            raise ValueError(message)
        start = ra - NORMAL_BASE
        return self.view[start : start + length]

    def discard(self, ra: int, length: int) -> None:
        """Scrub the pages at `ra` and give them back: they read as zero and cost nothing."""
        if not self.holds(ra, length):
            message = f"{length} bytes at {ra:#x} are not normal memory"
            raise ValueError(message)
        if length:
            self._map.madvise(mmap.MADV_REMOVE, ra - NORMAL_BASE, length)


class Bus(Protocol):
    """A way to normal memory."""

    async def perform(self, transfer: Transfer) -> None:
        """Carry out a transfer; raise PeerFailure where normal memory can't be reached."""


class MappedBus:
    """Normal memory by the shared mapping. The file is opened at the first transfer."""

    def __init__(self, path: str, size: int, threads: Executor) -> None:
        self._path = path
        self._size = size
        self._threads = threads
        self._memory: NormalMemory | None = None

    async def perform(self, transfer: Transfer) -> None:
        """Carry out a transfer, a large one in several threads at once."""
        if self._memory is None:
            try:
                self._memory = NormalMemory(self._path, self._size)
            except OSError as failure:
                raise PeerFailure("memory bus", "normal memory", str(failure.strerror)) from None
        loop = asyncio.get_running_loop()
        blocks = list(chunks(transfer.pieces, BLOCK))
        lanes = [blocks[lane::LANES] for lane in range(LANES)]
        await asyncio.gather(
            *(
                loop.run_in_executor(self._threads, carry_out, self._memory, transfer, lane)
                for lane in lanes
                if lane
            )
        )


def carry_out(
    memory: NormalMemory, transfer: Transfer, blocks: Sequence[tuple[int, int, int]] | None = None
) -> None:
    """Carry out the given blocks of a transfer, or all of it, on a mapping, in the calling thread."""
    for index, offset, length in chunks(transfer.pieces, BLOCK) if blocks is None else blocks:
        transfer.each(index, offset, memory.at(transfer.pieces[index][0] + offset, length))


class OwnerBus:
    """Normal memory over HTTP, by its owner."""

    def __init__(self, peer: Peer, threads: Executor) -> None:
        self._peer = peer
        self._threads = threads

    async def perform(self, transfer: Transfer) -> None:
        """Carry out a transfer in chunks: the pieces' addresses first, then their bytes one after another."""
        rows = np.array(transfer.pieces, dtype="<u8").tobytes()
        if transfer.writes:
            await self._peer.send(NORMAL_MEMORY_PATH + "write", self._filled(rows, transfer))
            return
        where = chunks(transfer.pieces)
        staged = bytearray()
        turn = next(where, None)
        async for received in self._peer.receive(NORMAL_MEMORY_PATH + "read", rows):
            staged += received
            while turn is not None and len(staged) >= turn[2]:
                index, offset, length = turn
                with memoryview(staged)[:length] as view:
                    await self._each(transfer, index, offset, view)
                del staged[:length]
                turn = next(where, None)
        if turn is not None or staged:
            raise PeerFailure(NORMAL_MEMORY_PATH + "read", self._peer.name, "wrong number of bytes")

    async def _filled(self, rows: bytes, transfer: Transfer) -> AsyncIterator[bytes]:
        yield len(transfer.pieces).to_bytes(8, "little") + rows
        for index, offset, length in chunks(transfer.pieces):
            staged = bytearray(length)
            await self._each(transfer, index, offset, memoryview(staged))
            yield bytes(staged)

    async def _each(self, transfer: Transfer, index: int, offset: int, view: memoryview) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, transfer.each, index, offset, view)


def chunks(pieces: Sequence[tuple[int, int]], most: int = CHUNK) -> Iterator[tuple[int, int, int]]:
    """Yield (index, offset, bytes) of each chunk of at most `most` bytes that the pieces travel in."""
    for index, (_, length) in enumerate(pieces):
        for offset in range(0, length, most):
            yield index, offset, min(most, length - offset)
