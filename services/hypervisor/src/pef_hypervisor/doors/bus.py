"""The memory bus over HTTP: the Ultravisor reads and writes normal memory by real address.

Bodies are those of `pef_kit.bus.OwnerBus`. All addresses are checked before a byte moves.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from http import HTTPStatus

import numpy as np
from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pef_hypervisor.normal_memory import RealMemory
from pef_kit.bus import NormalMemory, carry_out, chunks, zero
from pef_kit.core.fence import Message, Refuse
from pef_kit.doors import Problem
from pef_kit.http import Service
from pef_kit.operations import Transfer
from pef_protocol.identity import Epoch
from pef_protocol.wire import EPOCH, NORMAL_MEMORY_PATH, OCTETS, RUNS_AT_ONCE, Role

ROW_BYTES = 16
COUNT_BYTES = 8
ROWS_LIMIT = ROW_BYTES * RUNS_AT_ONCE


class OwnBus:
    """Normal memory for its owner: the mapping itself."""

    def __init__(self, memory: NormalMemory, threads: Executor) -> None:
        self._memory = memory
        self._threads = threads

    async def perform(self, transfer: Transfer) -> None:
        """Carry out a transfer in a thread."""
        loop = asyncio.get_running_loop()
        carry = zero if transfer.zeroes else carry_out
        await loop.run_in_executor(self._threads, carry, self._memory, transfer)


class Contents(StreamingResponse):
    """An answer that reads normal memory while it travels; its ranges are in use until it has ended."""

    def __init__(self, pieces: list[tuple[int, int]], real_memory: RealMemory) -> None:
        self._pieces = pieces
        self._memory = real_memory
        total = sum(length for _, length in pieces)
        super().__init__(self._chunks(), media_type=OCTETS, headers={"content-length": str(total)})

    async def _chunks(self) -> AsyncIterator[bytes]:
        for index, offset, length in chunks(self._pieces):
            yield bytes(self._memory.bytes.at(self._pieces[index][0] + offset, length))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, with its ranges noted as in use."""
        with self._memory.requests.under_way(self._pieces):
            await super().__call__(scope, receive, send)


def add_bus_door(service: Service, real_memory: RealMemory, bus: OwnBus) -> None:
    """Add the bus' routes; a message has at most `RUNS_AT_ONCE` rows."""
    memory = real_memory.bytes

    def require_current(request: Request) -> None:
        """Raise Problem where it is not the Ultravisor of the current epoch that asks."""
        service.doorkeeper.admit(request, Role.ULTRAVISOR)
        verdict = service.fence.receive(Message(Epoch.parse(request.headers.get(EPOCH, "")), None))
        if isinstance(verdict, Refuse):
            raise Problem(
                verdict.status, HTTPStatus(verdict.status).phrase, verdict.reason, kind=verdict.kind
            )

    async def read(request: Request) -> Response:
        require_current(request)
        # Order: nothing runs between this check and the response, which notes its ranges first.
        return Contents(rows_of(await service.body(request, ROWS_LIMIT), memory), real_memory)

    async def write(request: Request) -> Response:
        require_current(request)
        stream = service.pieces(request)
        head = bytearray()
        while len(head) < head_bytes(head):
            chunk = await anext(stream, None)
            if chunk is None:
                raise Problem(422, "Unprocessable Content", "the rows are not all there", "body")
            head += chunk
        wanted = head_bytes(head)
        pieces = rows_of(bytes(head[COUNT_BYTES:wanted]), memory)
        with real_memory.requests.under_way(pieces):
            filling = Filling(pieces, memory)
            filling.take(memoryview(bytes(head[wanted:])))
            async for chunk in stream:
                filling.take(memoryview(chunk))
            filling.end()
        return Response(status_code=204)

    async def zeroed(request: Request) -> Response:
        require_current(request)
        pieces = rows_of(await service.body(request, ROWS_LIMIT), memory)
        with real_memory.requests.under_way(pieces):
            await bus.perform(Transfer(pieces, lambda *_: None, writes=True, zeroes=True))
        return Response(status_code=204)

    service.post(NORMAL_MEMORY_PATH + "zero", zeroed)
    service.post(NORMAL_MEMORY_PATH + "read", read)
    service.post(NORMAL_MEMORY_PATH + "write", write)


def rows_of(body: bytes, memory: NormalMemory) -> list[tuple[int, int]]:
    """Return rows of (real address, bytes); raise Problem 422 where one is outside normal memory."""
    if len(body) % ROW_BYTES:
        raise Problem(422, "Unprocessable Content", "not rows of two 64-bit numbers", "body")
    rows = [(int(ra), int(length)) for ra, length in np.frombuffer(body, "<u8").reshape(-1, 2)]
    for ra, length in rows:
        if not memory.holds(ra, length):
            raise Problem(
                422, "Unprocessable Content", f"{length} bytes at {ra:#x} are not normal memory", "ra"
            )
    return rows


def head_bytes(head: bytearray) -> int:
    """Return how many bytes the count and the rows take; raise Problem 413 over the limit."""
    if len(head) < COUNT_BYTES:
        return COUNT_BYTES
    wanted = COUNT_BYTES + ROW_BYTES * int.from_bytes(head[:COUNT_BYTES], "little")
    if wanted > COUNT_BYTES + ROWS_LIMIT:
        raise Problem(413, "Content Too Large", f"addresses may have {ROWS_LIMIT} bytes")
    return wanted


class Filling:
    """Writes a stream of bytes into the pieces of a transfer, one after another."""

    def __init__(self, pieces: list[tuple[int, int]], memory: NormalMemory) -> None:
        self._rooms = iter([memory.at(ra, length) for ra, length in pieces if length])
        self._room: memoryview | None = next(self._rooms, None)

    def take(self, content: memoryview) -> None:
        """Write what has come; raise Problem 422 where there is no room left for it."""
        while content.nbytes:
            if self._room is None:
                raise Problem(422, "Unprocessable Content", "more bytes than the rows say", "body")
            some = min(self._room.nbytes, content.nbytes)
            self._room[:some] = content[:some]
            content, self._room = content[some:], self._room[some:]
            if not self._room.nbytes:
                self._room = next(self._rooms, None)

    def end(self) -> None:
        """Raise Problem 422 where bytes are missing."""
        if self._room is not None:
            raise Problem(422, "Unprocessable Content", "fewer bytes than the rows say", "body")
