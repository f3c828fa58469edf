"""Normal memory: what is touched costs, what is discarded does not, and nothing outside is reached."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pef_kit.core.effects import PeerFailure, Transfer
from pef_kit.runtime import bus as bus_module
from pef_kit.runtime.bus import BLOCK, NORMAL_BASE, MmapBus, NormalMemory, carry_out, chunks
from pef_protocol.quantities import PAGE_SIZE, SECURE_BIT, U64_MAX

SIZE = 64 * PAGE_SIZE
TIB = 1 << 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "normal-memory"


@pytest.fixture
def memory(path: Path) -> Iterator[NormalMemory]:
    memory = NormalMemory(path, SIZE, create=True)
    yield memory
    memory.view.release()


def cost(path: Path) -> int:
    """Return how many bytes the file takes of its file system."""
    return path.stat().st_blocks * 512


def page(number: int) -> int:
    return NORMAL_BASE + number * PAGE_SIZE


def test_fresh_memory_is_sparse_private_and_zero(path: Path) -> None:
    memory = NormalMemory(path, 4 * TIB, create=True)
    assert (path.stat().st_size, cost(path)) == (4 * TIB, 0)
    assert path.stat().st_mode & 0o777 == 0o660
    assert bytes(memory.at(NORMAL_BASE + 4 * TIB - 8, 8)) == bytes(8)


def test_discarded_pages_read_as_zero_and_cost_nothing(memory: NormalMemory, path: Path) -> None:
    memory.at(page(0), 8 * PAGE_SIZE)[:] = b"\xaa" * 8 * PAGE_SIZE
    assert cost(path) == 8 * PAGE_SIZE
    memory.discard(page(2), 4 * PAGE_SIZE)
    assert cost(path) == 4 * PAGE_SIZE
    assert bytes(memory.at(page(0), 8 * PAGE_SIZE)) == (
        b"\xaa" * 2 * PAGE_SIZE + bytes(4 * PAGE_SIZE) + b"\xaa" * 2 * PAGE_SIZE
    )
    memory.discard(page(0), SIZE)
    memory.discard(page(0), 0)
    assert cost(path) == 0


def test_another_mapping_of_the_file_is_the_same_memory(memory: NormalMemory, path: Path) -> None:
    other = NormalMemory(path, SIZE)
    memory.at(page(3), 5)[:] = b"hello"
    assert bytes(other.at(page(3), 5)) == b"hello"
    memory.discard(page(3), PAGE_SIZE)
    assert bytes(other.at(page(3), 5)) == bytes(5)


def test_unshared_memory_works_alike() -> None:
    memory = NormalMemory.unshared(SIZE)
    memory.at(page(1), 5)[:] = b"hello"
    assert bytes(memory.at(page(1), 5)) == b"hello"
    memory.discard(page(1), PAGE_SIZE)
    assert bytes(memory.at(page(1), 5)) == bytes(5)


@pytest.mark.parametrize(
    ("ra", "length"),
    [
        (NORMAL_BASE - 1, 1),
        (0, PAGE_SIZE),
        (NORMAL_BASE, SIZE + 1),
        (NORMAL_BASE + SIZE, 1),
        (NORMAL_BASE + SIZE - 1, 2),
        (NORMAL_BASE, -1),
        (NORMAL_BASE | SECURE_BIT, PAGE_SIZE),
        (U64_MAX, 1),
        (NORMAL_BASE, U64_MAX),
    ],
)
def test_nothing_outside_is_reached(memory: NormalMemory, ra: int, length: int) -> None:
    assert not memory.holds(ra, length)
    with pytest.raises(ValueError, match=f"{length} bytes at {ra:#x} are not normal memory"):
        memory.at(ra, length)
    with pytest.raises(ValueError, match="not normal memory"):
        memory.discard(ra, length)


@pytest.mark.parametrize(
    ("ra", "length"), [(NORMAL_BASE, SIZE), (page(63), PAGE_SIZE), (page(64), 0), (page(5), 3)]
)
def test_all_of_it_is_reached(memory: NormalMemory, ra: int, length: int) -> None:
    assert memory.holds(ra, length)
    assert len(memory.at(ra, length)) == length


def test_memory_that_is_not_there_is_no_memory(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NormalMemory(path, SIZE)
    assert not path.exists()


PIECES = ((page(8), 3 * PAGE_SIZE), (page(0), 100), (page(40), PAGE_SIZE))


async def test_a_mapped_bus_writes_and_reads(
    memory: NormalMemory, path: Path, threads: ThreadPoolExecutor
) -> None:
    bus = MmapBus(threads, NormalMemory(path, SIZE))

    def fill(index: int, offset: int, view: memoryview) -> None:
        view[:] = bytes([index + 1]) * len(view)

    await bus.perform(Transfer(PIECES, fill, writes=True))
    for index, (ra, length) in enumerate(PIECES):
        assert bytes(memory.at(ra, length)) == bytes([index + 1]) * length
    assert cost(path) <= 5 * PAGE_SIZE

    seen: dict[tuple[int, int], bytes] = {}

    def read(index: int, offset: int, view: memoryview) -> None:
        seen[index, offset] = bytes(view)

    await bus.perform(Transfer(PIECES, read, writes=False))
    assert seen == {(index, 0): bytes([index + 1]) * length for index, (_, length) in enumerate(PIECES)}


async def test_a_long_transfer_covers_every_byte_once(path: Path, threads: ThreadPoolExecutor) -> None:
    size = 3 * BLOCK + PAGE_SIZE
    memory = NormalMemory(path, size, create=True)
    seen: list[tuple[int, int, int]] = []
    pieces = ((NORMAL_BASE, size), (NORMAL_BASE, PAGE_SIZE))
    each = Transfer(pieces, lambda index, offset, view: seen.append((index, offset, len(view))), writes=False)
    await MmapBus(threads, memory).perform(each)
    assert sorted(seen) == list(chunks(pieces, BLOCK))
    assert sum(length for _, _, length in seen) == size + PAGE_SIZE


async def test_a_bus_whose_file_nobody_has_named_is_a_failure_of_the_peer(
    path: Path, threads: ThreadPoolExecutor
) -> None:
    bus = MmapBus(threads)
    with pytest.raises(PeerFailure, match="memory bus to normal memory: "):
        await bus.perform(Transfer(PIECES, lambda *_: None, writes=False))
    bus.memory = NormalMemory(path, SIZE, create=True)
    await bus.perform(Transfer(PIECES, lambda *_: None, writes=False))


class HeldThreads(Executor):
    """Threads that do nothing until the test says how each piece of work ended."""

    def __init__(self) -> None:
        self.held: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.held.append(Future())
        self.held[-1].set_running_or_notify_cancel()
        return self.held[-1]


async def turns_of_the_loop() -> None:
    """Let everything that is ready go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_transfer_that_fails_has_ended_in_every_thread_when_it_tells(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its operation would take its marks off pages that a thread still writes."""
    monkeypatch.setattr(bus_module, "LANES", 2)
    memory = NormalMemory(path, 2 * BLOCK, create=True)
    held = HeldThreads()
    transfer = Transfer(((NORMAL_BASE, 2 * BLOCK),), lambda *_: None, writes=False)
    task = asyncio.ensure_future(MmapBus(held, memory).perform(transfer))
    await turns_of_the_loop()
    first, second = held.held
    first.set_exception(ZeroDivisionError())
    await turns_of_the_loop()
    assert not task.done()
    second.set_result(None)
    with pytest.raises(ZeroDivisionError):
        await task


def test_a_transfer_in_the_calling_thread(memory: NormalMemory) -> None:
    memory.at(page(8), 3)[:] = b"abc"
    seen: list[bytes] = []
    carry_out(
        memory,
        Transfer(((page(8), 3), (page(9), 1)), lambda _, __, view: seen.append(bytes(view)), writes=False),
    )
    assert seen == [b"abc", b"\0"]
    with pytest.raises(ValueError, match="not normal memory"):
        carry_out(memory, Transfer(((0, 1),), lambda *_: None, writes=False))
