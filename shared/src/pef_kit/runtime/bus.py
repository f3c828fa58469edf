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
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from pef_kit.core.advice import MADV_DONTNEED, MADV_REMOVE, advise
from pef_kit.core.effects import PeerFailure, Transfer
from pef_kit.runtime.holes import parts
from pef_kit.runtime.peer import Peer
from pef_protocol.http import NORMAL_MEMORY_PATH
from pef_protocol.quantities import PAGE_SIZE

NORMAL_BASE: Final = 1 << 32
"""Real address at which normal memory begins."""

CHUNK: Final = 64 * PAGE_SIZE
"""Bytes that travel at once over HTTP."""

ROW_BYTES: Final = 16
"""A row of a message: real address and bytes, 64 bits each. Half a row counts the rows."""

SLOWEST: Final = 1 << 20
"""Bytes a second that an owner must carry at least."""

BLOCK: Final = 64 * PAGE_SIZE
"""Bytes that a thread moves at once where memory is mapped."""

AT_ONCE: Final = 4 * PAGE_SIZE
"""Bytes that are moved without a thread."""

HOLE: Final = 1 << 28
"""Bytes that are given back at once: between two such parts a transfer can stop."""

ZEROES: Final = memoryview(bytes(BLOCK))
"""What is read of a hole: a view that can't be written."""

LANES: Final = min(os.cpu_count() or 1, 4)
"""Threads that share one transfer."""

_MAP_NORESERVE: Final = 0x4000


class NormalMemory:
    """Normal memory from real address `NORMAL_BASE`, `size` bytes, mapped from the file at `path`."""

    _file: int | None = None
    """The file, open; none where the bytes are in no file, and so no hole is."""

    def __init__(self, path: str | Path, size: int, *, create: bool = False) -> None:
        """Map the file; with `create` a new one, which nobody else has made."""
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT | os.O_EXCL if create else 0)
        handle = os.open(path, flags, 0o660)
        try:
            if create:
                os.fchmod(handle, 0o660)  # both sides may have users of their own, and a group in common
                os.ftruncate(handle, size)
            self._map_file(handle, size)
        finally:
            os.close(handle)

    def _map_file(self, handle: int, size: int) -> None:
        self._map = mmap.mmap(handle, size, mmap.MAP_SHARED | _MAP_NORESERVE)
        self.size = size
        self.view = memoryview(self._map)
        self._address = np.frombuffer(self._map, np.uint8).ctypes.data
        self._file = os.dup(handle)
        weakref.finalize(self, os.close, self._file)

    @classmethod
    def unshared(cls, size: int) -> "NormalMemory":
        """Make normal memory that no other process can map; it is reached over HTTP, by its owner."""
        handle = os.memfd_create("pef-normal-memory", os.MFD_CLOEXEC)
        memory = cls.__new__(cls)
        try:
            os.ftruncate(handle, size)
            memory._map_file(handle, size)  # noqa: SLF001 - another way to make one
        finally:
            os.close(handle)
        return memory

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

    def copied(self, ra: int, length: int) -> bytes:
        """Return a copy of the bytes at `ra`; a hole stays one. Raise ValueError outside normal memory."""
        view = self.at(ra, length)
        cut = self.parts(ra, length)
        return b"".join([bytes(size) if hole else view[at : at + size] for at, size, hole in cut])

    def parts(self, ra: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """Cut `length` bytes at `ra` at page boundaries: (offset, bytes, whether all lie in holes).

        A hole that is read through the mapping costs memory from then on.
        """
        if self._file is None:
            return iter([(0, length, False)])
        return parts(self._file, self._address, ra - NORMAL_BASE, length)

    def release(self, ra: int, length: int) -> None:
        """Take whole pages at `ra` out of this process's own books; their bytes stay in the file."""
        start = -(-(ra - NORMAL_BASE) // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (ra - NORMAL_BASE + length) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > start:
            advise(self._address + start, end - start, MADV_DONTNEED)

    def discard(self, ra: int, length: int) -> None:
        """Scrub the pages at `ra` and give them back: they read as zero and cost nothing."""
        if not self.holds(ra, length):
            message = f"{length} bytes at {ra:#x} are not normal memory"
            raise ValueError(message)
        if length:
            advise(self._address + ra - NORMAL_BASE, length, MADV_REMOVE)


class Bus(Protocol):
    """A way to normal memory."""

    async def perform(self, transfer: Transfer) -> None:
        """Carry out a transfer; raise PeerFailure where normal memory can't be reached."""


class MmapBus:
    """Normal memory by the shared mapping `memory`; None until its owner has said hello."""

    def __init__(self, threads: Executor, memory: NormalMemory | None = None) -> None:
        self._threads = threads
        self.memory = memory

    async def perform(self, transfer: Transfer) -> None:
        """Carry out a transfer: a small one at once, a large one in several threads."""
        memory = self.memory
        if memory is None:
            raise PeerFailure("memory bus", "normal memory", "nobody has said which file it is")
        if transfer.zeroes:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, zero, memory, transfer)
            return
        if sum(length for _, length in transfer.pieces) <= AT_ONCE:
            carry_out(memory, transfer)
            return
        loop = asyncio.get_running_loop()
        blocks = list(chunks(transfer.pieces, BLOCK))
        lanes = [blocks[lane::LANES] for lane in range(LANES)]
        # Order: all lanes have ended before the operation goes on, for it then takes its marks off.
        outcomes = await asyncio.gather(
            *(
                loop.run_in_executor(self._threads, carry_out, memory, transfer, lane)
                for lane in lanes
                if lane
            ),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome


def carry_out(
    memory: NormalMemory, transfer: Transfer, blocks: Sequence[tuple[int, int, int]] | None = None
) -> None:
    """Carry out the given blocks of a transfer, or all of it, on a mapping, in the calling thread."""
    for index, offset, length in chunks(transfer.pieces, BLOCK) if blocks is None else blocks:
        ra = transfer.pieces[index][0] + offset
        view = memory.at(ra, length)
        if transfer.writes or transfer.dense:
            transfer.each(index, offset, view)
            continue
        # A hole is not read through the mapping: that alone would make it cost memory.
        for start, size, hole in memory.parts(ra, length):
            transfer.each(index, offset + start, ZEROES[:size] if hole else view[start : start + size])


NOTHING: Final = memoryview(bytearray())


def zero(memory: NormalMemory, transfer: Transfer) -> None:
    """Carry out a transfer that zeroes: give whole pages back, for a hole reads as zero and costs nothing.

    `each` is called before every part, with no bytes: it raises where the transfer is to stop.
    """
    for index, offset, length in chunks(transfer.pieces, HOLE):
        transfer.each(index, offset, NOTHING)
        memory.discard(transfer.pieces[index][0] + offset, length)


class HttpBus:
    """Normal memory over HTTP, by its owner.

    While one chunk travels, the next is filled, or the last one treated, in a thread.
    """

    def __init__(self, peer: Peer, threads: Executor) -> None:
        self._peer = peer
        self._threads = threads

    async def perform(self, transfer: Transfer) -> None:
        """Carry out a transfer in chunks: the pieces' addresses first, then their bytes one after another.

        Raise PeerFailure where the owner refuses, gives a wrong number of bytes, or trickles.
        """
        longest = self._peer.timeout + sum(length for _, length in transfer.pieces) / SLOWEST
        try:
            async with asyncio.timeout(longest):
                if transfer.zeroes:
                    await self._zero(transfer)
                else:
                    await (self._write(transfer) if transfer.writes else self._read(transfer))
        except TimeoutError:
            reason = f"not done within {longest:.1f} s"
            raise PeerFailure(NORMAL_MEMORY_PATH, self._peer.name, reason) from None

    async def _read(self, transfer: Transfer) -> None:
        path = NORMAL_MEMORY_PATH + "read"
        at_work: deque[asyncio.Future[None]] = deque()
        where = chunks(transfer.pieces)
        turn = next(where, None)
        staged = bytearray(turn[2] if turn else 0)
        arrived, surplus = 0, False
        try:
            async with aclosing(self._peer.receive(path, rows_of(transfer), transfer.lives)) as received:
                async for more in received:
                    rest = memoryview(more)
                    while turn is not None and rest:
                        taken = min(len(rest), len(staged) - arrived)
                        staged[arrived : arrived + taken] = rest[:taken]
                        arrived, rest = arrived + taken, rest[taken:]
                        if arrived == len(staged):
                            if len(at_work) == LANES:
                                await at_work.popleft()
                            at_work.append(self._begin(transfer, turn, staged))
                            arrived, turn = 0, next(where, None)
                            staged = bytearray(turn[2] if turn else 0)
                    if surplus := bool(len(rest)):
                        break  # Trust: an owner that never ends its answer must not fill our memory
        finally:
            outcomes = await asyncio.gather(*at_work, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        if turn is not None or surplus:
            raise PeerFailure(path, self._peer.name, "wrong number of bytes")

    async def _zero(self, transfer: Transfer) -> None:
        """Have the owner give the pages back; `each` sees no bytes, but may stop the transfer."""
        rows = rows_of(transfer)
        transfer.each(0, 0, NOTHING)

        async def content() -> AsyncGenerator[bytes, None]:
            yield rows

        await self._peer.send(NORMAL_MEMORY_PATH + "zero", content(), len(rows), transfer.lives)

    async def _write(self, transfer: Transfer) -> None:
        async with aclosing(self._filled(transfer)) as content:
            rows = len(transfer.pieces)
            length = ROW_BYTES // 2 + rows * ROW_BYTES + sum(length for _, length in transfer.pieces)
            await self._peer.send(NORMAL_MEMORY_PATH + "write", content, length, transfer.lives)

    async def _filled(self, transfer: Transfer) -> AsyncGenerator[bytes, None]:
        yield len(transfer.pieces).to_bytes(8, "little") + rows_of(transfer)
        where = chunks(transfer.pieces)
        turn = next(where, None)
        staged = bytearray(turn[2] if turn else 0)
        filling = self._begin(transfer, turn, staged) if turn else None
        try:
            while filling is not None:
                await filling
                full = staged
                turn = next(where, None)
                staged = bytearray(turn[2] if turn else 0)
                filling = self._begin(transfer, turn, staged) if turn else None
                yield bytes(full)
        finally:
            if filling is not None:
                await asyncio.wait([filling])

    def _begin(
        self, transfer: Transfer, turn: tuple[int, int, int], staged: bytearray
    ) -> asyncio.Future[None]:
        """Have a thread fill or treat one chunk."""
        index, offset, length = turn

        def treat() -> None:
            zero = not transfer.writes and staged == ZEROES[:length]
            transfer.each(index, offset, ZEROES[:length] if zero else memoryview(staged))

        return asyncio.get_running_loop().run_in_executor(self._threads, treat)


def rows_of(transfer: Transfer) -> bytes:
    """Return the pieces of a transfer as words: real address, bytes."""
    return np.array(transfer.pieces, dtype="<u8").tobytes()


def chunks(pieces: Sequence[tuple[int, int]], most: int = CHUNK) -> Iterator[tuple[int, int, int]]:
    """Yield (index, offset, bytes) of each chunk of at most `most` bytes that the pieces travel in."""
    for index, (_, length) in enumerate(pieces):
        for offset in range(0, length, most):
            yield index, offset, min(most, length - offset)
