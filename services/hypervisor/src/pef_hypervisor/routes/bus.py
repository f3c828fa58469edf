"""The memory bus over HTTP: the Ultravisor reads and writes normal memory by real address.

Bodies are those of `pef_kit.runtime.bus.HttpBus`. All addresses are checked before a byte moves.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np
from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pef_hypervisor.normal_memory import RealMemory
from pef_kit.core.effects import Transfer
from pef_kit.runtime import openapi
from pef_kit.runtime.app import Service
from pef_kit.runtime.auth import Problem
from pef_kit.runtime.bus import NormalMemory, carry_out, chunks, zero
from pef_kit.runtime.clients import Octets
from pef_protocol.http import NORMAL_MEMORY_PATH, OCTETS, RUNS_AT_ONCE, Role

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
            yield self._memory.bytes.copied(self._pieces[index][0] + offset, length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, with its ranges noted as in use."""
        with self._memory.requests.under_way(self._pieces):
            await super().__call__(scope, receive, send)


def add_bus_routes(service: Service, real_memory: RealMemory, bus: OwnBus) -> None:
    """Add the bus' routes; a message has at most `RUNS_AT_ONCE` rows.

    The edge has seen that it is the Ultravisor of the current epoch that asks.
    """
    memory = real_memory.bytes

    async def read(rows: Octets) -> Response:
        """Read normal memory: rows of (real address, bytes) in, their bytes out."""
        # Order: nothing runs between this check and the response, which notes its ranges first.
        return Contents(rows_of(rows, memory), real_memory)

    async def write(request: Request) -> Response:
        """Write normal memory: the number of rows, the rows, and their bytes, as a stream."""
        stream = aiter(request.stream())
        head = bytearray()
        while len(head) < head_bytes(head):
            chunk = await anext(stream, None)
            if chunk is None:
                raise Problem(422, "the rows are not all there", "body")
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

    async def zero_pages(rows: Octets) -> Response:
        """Zero normal memory: whole pages are given back, and read as zero."""
        pieces = rows_of(rows, memory)
        with real_memory.requests.under_way(pieces):
            await bus.perform(Transfer(pieces, lambda *_: None, writes=True, zeroes=True))
        return Response(status_code=204)

    def add(name: str, handler: Callable[..., Any], limit: int | None, **describes: Any) -> None:
        service.add(
            "POST",
            NORMAL_MEMORY_PATH + name,
            handler,
            Role.ULTRAVISOR,
            tag=Role.ULTRAVISOR.value,
            limit=limit,
            between=True,
            openapi_extra=openapi.bus_body(limit),
            **describes,
        )

    add("zero", zero_pages, ROWS_LIMIT, status_code=204)
    add("read", read, ROWS_LIMIT, responses=openapi.OCTETS_ALONE)
    add("write", write, None, status_code=204)


def rows_of(body: bytes, memory: NormalMemory) -> list[tuple[int, int]]:
    """Return rows of (real address, bytes); raise Problem 422 where one is outside normal memory."""
    if len(body) % ROW_BYTES:
        raise Problem(422, "not rows of two 64-bit numbers", "body")
    rows = [(int(ra), int(length)) for ra, length in np.frombuffer(body, "<u8").reshape(-1, 2)]
    for ra, length in rows:
        if not memory.holds(ra, length):
            raise Problem(422, f"{length} bytes at {ra:#x} are not normal memory", "ra")
    return rows


def head_bytes(head: bytearray) -> int:
    """Return how many bytes the count and the rows take; raise Problem 413 over the limit."""
    if len(head) < COUNT_BYTES:
        return COUNT_BYTES
    wanted = COUNT_BYTES + ROW_BYTES * int.from_bytes(head[:COUNT_BYTES], "little")
    if wanted > COUNT_BYTES + ROWS_LIMIT:
        raise Problem(413, f"addresses may have {ROWS_LIMIT} bytes")
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
                raise Problem(422, "more bytes than the rows say", "body")
            some = min(self._room.nbytes, content.nbytes)
            self._room[:some] = content[:some]
            content, self._room = content[some:], self._room[some:]
            if not self._room.nbytes:
                self._room = next(self._rooms, None)

    def end(self) -> None:
        """Raise Problem 422 where bytes are missing."""
        if self._room is not None:
            raise Problem(422, "fewer bytes than the rows say", "body")
