"""Normal memory over HTTP: the framing, beside a tiny owner that is an array of bytes."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from harness.in_process import Receive, Scope, Send, peer_of, pieces_of
from pef_kit.core.effects import PeerFailure, Transfer
from pef_kit.runtime.bus import CHUNK, NORMAL_BASE, HttpBus, chunks
from pef_protocol.http import NORMAL_MEMORY_PATH, Role
from pef_protocol.quantities import PAGE_SIZE

SIZE = 4 * CHUNK
BODY_PIECES = (1, 7, PAGE_SIZE, CHUNK - 1, CHUNK + 1, 3)


class Owner:
    """Owns `SIZE` bytes of normal memory as an ASGI application; answers in pieces of odd sizes."""

    def __init__(self) -> None:
        self.memory = bytearray(np.random.default_rng(7).bytes(SIZE))
        self.status = 200
        self.cut = 0
        self.more = b""
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        turn = await receive()
        while turn.get("more_body"):
            body, turn = body + turn["body"], await receive()
        body += turn.get("body", b"")
        self.paths.append(scope["path"])
        answer = self.read(body) if scope["path"].endswith("/read") else self.write(body)
        answer = answer[: len(answer) - self.cut] + self.more
        status = self.status if self.status != 200 or scope["path"].endswith("/read") else 204
        await send({"type": "http.response.start", "status": status, "headers": []})
        for piece in pieces_of(answer, itertools.cycle(BODY_PIECES)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    def read(self, rows: bytes) -> bytes:
        places = np.frombuffer(rows, "<u8").reshape(-1, 2)
        return b"".join(bytes(self.memory[ra - NORMAL_BASE :][:length]) for ra, length in places.tolist())

    def write(self, body: bytes) -> bytes:
        rows = int.from_bytes(body[:8], "little")
        at = 8 + 16 * rows
        for ra, length in np.frombuffer(body[8:at], "<u8").reshape(-1, 2).tolist():
            self.memory[ra - NORMAL_BASE : ra - NORMAL_BASE + length] = body[at : at + length]
            at += length
        assert at == len(body)
        return b""


LENGTHS = [
    (1,),
    (PAGE_SIZE,),
    (CHUNK - 1,),
    (CHUNK,),
    (CHUNK + 1,),
    (2 * CHUNK + 5, 3),
    (3, CHUNK, PAGE_SIZE, 1),
    (0, 5, 0),
    (),
    (40,) * 1000,
]
lengths = pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: f"{len(lengths)} of {sum(lengths)}")


def placed(lengths: tuple[int, ...]) -> list[tuple[int, int]]:
    """Place pieces of these lengths in memory, 3 bytes apart, the last ones first."""
    places: list[tuple[int, int]] = []
    at = NORMAL_BASE
    for length in lengths:
        places.append((at, length))
        at += length + 3
    return places[::-1]


@lengths
async def test_pieces_are_read_chunk_by_chunk(lengths: tuple[int, ...], threads: ThreadPoolExecutor) -> None:
    owner, pieces = Owner(), placed(lengths)
    seen: list[tuple[int, int, bytes]] = []

    def each(index: int, offset: int, view: memoryview) -> None:
        seen.append((index, offset, bytes(view)))

    async with peer_of(owner, Role.ULTRAVISOR) as peer:
        await HttpBus(peer, threads).perform(Transfer(pieces, each, writes=False))
    wanted = [
        (index, offset, bytes(owner.memory[pieces[index][0] - NORMAL_BASE + offset :][:length]))
        for index, offset, length in chunks(pieces)
    ]
    assert sorted(seen) == wanted  # several threads treat what arrived, each its own chunk
    assert sum(len(content) for _, _, content in seen) == sum(lengths)
    assert all(offset % PAGE_SIZE == 0 for _, offset, _ in seen)
    assert owner.paths == [NORMAL_MEMORY_PATH + "read"]


@lengths
async def test_pieces_are_written_and_nothing_else_is(
    lengths: tuple[int, ...], threads: ThreadPoolExecutor
) -> None:
    owner, pieces = Owner(), placed(lengths)
    wanted = bytearray(owner.memory)
    for index, (ra, length) in enumerate(pieces):
        wanted[ra - NORMAL_BASE : ra - NORMAL_BASE + length] = bytes([index % 251 + 1]) * length

    def each(index: int, _: int, view: memoryview) -> None:
        view[:] = bytes([index % 251 + 1]) * len(view)

    async with peer_of(owner, Role.ULTRAVISOR) as peer:
        await HttpBus(peer, threads).perform(Transfer(pieces, each, writes=True))
    assert owner.memory == wanted
    assert owner.paths == [NORMAL_MEMORY_PATH + "write"]


@pytest.mark.parametrize(("cut", "more"), [(1, b""), (PAGE_SIZE, b""), (0, b"x"), (2 * PAGE_SIZE, b"")])
async def test_a_wrong_number_of_bytes_is_a_failure(
    cut: int, more: bytes, threads: ThreadPoolExecutor
) -> None:
    owner = Owner()
    owner.cut, owner.more = cut, more
    async with peer_of(owner, Role.ULTRAVISOR) as peer:
        transfer = Transfer(placed((PAGE_SIZE, PAGE_SIZE)), lambda *_: None, writes=False)
        with pytest.raises(PeerFailure, match="read to hypervisor: wrong number of bytes"):
            await HttpBus(peer, threads).perform(transfer)


@pytest.mark.parametrize("writes", [False, True])
async def test_an_owner_that_refuses_is_a_failure(writes: bool, threads: ThreadPoolExecutor) -> None:
    owner = Owner()
    owner.status = 422
    async with peer_of(owner, Role.ULTRAVISOR) as peer:
        transfer = Transfer(placed((PAGE_SIZE,)), lambda *_: None, writes=writes)
        with pytest.raises(PeerFailure, match="to hypervisor: HTTP status 422"):
            await HttpBus(peer, threads).perform(transfer)


class Endless(httpx.AsyncByteStream):
    """A body that never ends, and knows how much of it was taken and whether it was let go."""

    def __init__(self) -> None:
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.taken += PAGE_SIZE
            yield bytes(PAGE_SIZE)

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("faulty", [False, True], ids=["owner", "reader"])
async def test_a_body_that_never_ends_is_let_go(faulty: bool, threads: ThreadPoolExecutor) -> None:
    body = Endless()

    def each(*_: object) -> None:
        if faulty:
            raise ZeroDivisionError

    async with peer_of(Owner(), Role.ULTRAVISOR) as peer:
        peer._clients[1]._transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=body))
        transfer = Transfer(placed((PAGE_SIZE, PAGE_SIZE)), each, writes=False)
        with pytest.raises(ZeroDivisionError if faulty else PeerFailure):
            await HttpBus(peer, threads).perform(transfer)
        assert body.closed
        assert body.taken <= 3 * PAGE_SIZE
        assert peer._turns[1]._value == 4


class Trickling(httpx.AsyncByteStream):
    """A body of which a byte comes, and no more for ever."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()


async def test_an_owner_that_trickles_is_given_up(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pef_kit.runtime.bus.SLOWEST", 1 << 30)
    async with peer_of(Owner(), Role.ULTRAVISOR, time_limit=0.2) as peer:
        peer._clients[1]._transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Trickling()))
        transfer = Transfer(placed((PAGE_SIZE,)), lambda *_: None, writes=False)
        async with asyncio.timeout(10):
            with pytest.raises(PeerFailure, match=r"not done within 0\.2 s"):
                await HttpBus(peer, threads).perform(transfer)
