"""Page contents per second, out of secure memory and in again, by shared memory and by HTTP; their floors."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pytest_benchmark.fixture import BenchmarkFixture

from bench.bare_stream import CHUNK
from bench.promises import CONTENT_BYTES
from bench.stage import Stage, Yard, yard
from pef_kit.runtime.bus import NORMAL_BASE
from pef_kit.runtime.connections import client_of
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.pair import PairPlan
from pef_lab.ports import free_ports
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import PlacedRuns
from pef_protocol.ultracalls import PageIn, PageOut

MEMORY = 2 << 30
FROM_GPA = 1 << 30
PLACE = NORMAL_BASE + (1 << 40)
"""Normal memory that no VM has."""
STORED_AT_ONCE = 1 << 20

OUT = {"UV_PAGE_OUT": PageOut, "UV_PAGE_IN": PageIn}


def prepared(stage: Stage, fixture: Yard) -> "Mover":
    """Return the mover of a secure VM with CONTENT_BYTES of text in it."""
    guest = stage.run(fixture.boot(Design.TRACKED))
    stage.run(fixture.enter(guest))
    content = np.random.default_rng(1).bytes(STORED_AT_ONCE)
    for offset in range(0, CONTENT_BYTES, STORED_AT_ONCE):
        stage.run(guest.store(FROM_GPA + offset, content))
    return Mover(stage, fixture, guest.lpid)


class Mover:
    """Plays the Hypervisor: one ultracall moves all the text."""

    def __init__(self, stage: Stage, fixture: Yard, lpid: int) -> None:
        self.stage = stage
        self.lpid = lpid
        self.endpoint = stage.run(fixture.as_hypervisor())
        self.runs = PlacedRuns.of((PLACE, FROM_GPA, CONTENT_BYTES >> PAGE_ORDER))

    def move(self, name: str) -> None:
        """Make UV_PAGE_OUT or UV_PAGE_IN."""
        reply = self.stage.run(self.endpoint.call(name, OUT[name](self.lpid, self.runs, 0, PAGE_ORDER)))  # type: ignore[arg-type]
        assert reply.code.succeeded, reply


@pytest.mark.benchmark(group="256 MiB of page contents")
@pytest.mark.parametrize("form", list(NormalMemoryForm), ids=str)
def test_page_out(benchmark: BenchmarkFixture, stage: Stage, form: NormalMemoryForm) -> None:
    with stage.entered(yard(PairPlan(2 * MEMORY, form), MEMORY)) as fixture:
        mover = prepared(stage, fixture)
        mover.move("UV_PAGE_OUT")
        benchmark.pedantic(mover.move, ("UV_PAGE_OUT",), setup=lambda: mover.move("UV_PAGE_IN"), rounds=7)
        stage.run(mover.endpoint.close())


@pytest.mark.benchmark(group="256 MiB of page contents")
@pytest.mark.parametrize("form", list(NormalMemoryForm), ids=str)
def test_page_in(benchmark: BenchmarkFixture, stage: Stage, form: NormalMemoryForm) -> None:
    with stage.entered(yard(PairPlan(2 * MEMORY, form), MEMORY)) as fixture:
        mover = prepared(stage, fixture)
        mover.move("UV_PAGE_OUT")
        mover.move("UV_PAGE_IN")
        benchmark.pedantic(mover.move, ("UV_PAGE_IN",), setup=lambda: mover.move("UV_PAGE_OUT"), rounds=7)
        stage.run(mover.endpoint.close())


@pytest.mark.benchmark(group="256 MiB of page contents")
def test_memory_copy(benchmark: BenchmarkFixture) -> None:
    source, target = np.ones(CONTENT_BYTES, np.uint8), np.zeros(CONTENT_BYTES, np.uint8)
    benchmark.pedantic(np.copyto, (target, source), rounds=7, warmup_rounds=1)


@pytest.mark.benchmark(group="256 MiB of page contents")
def test_aes_gcm(benchmark: BenchmarkFixture) -> None:
    cipher = AESGCM(bytes(32))
    pages = np.ones(CONTENT_BYTES, np.uint8).reshape(-1, PAGE_SIZE)
    sealed = np.zeros(PAGE_SIZE + 16, np.uint8)

    def seal_all() -> None:
        for page in pages:
            cipher.encrypt_into(bytes(12), page.data, b"", sealed.data)

    benchmark.pedantic(seal_all, rounds=7, warmup_rounds=1)


@pytest.mark.benchmark(group="256 MiB of page contents")
def test_memory_copy_to_fresh_memory(benchmark: BenchmarkFixture) -> None:
    source = np.ones(CONTENT_BYTES, np.uint8)

    def released() -> tuple[tuple[np.ndarray, np.ndarray], dict[str, object]]:
        return (np.zeros(CONTENT_BYTES, np.uint8), source), {}

    benchmark.pedantic(np.copyto, setup=released, rounds=7, warmup_rounds=1)


@asynccontextmanager
async def bare_service() -> AsyncIterator[httpx.AsyncClient]:
    """Start the bare application and yield a client to it."""
    (port,) = free_ports(1)
    command = [sys.executable, str(Path(__file__).with_name("bare_stream.py")), str(port)]
    process = subprocess.Popen(command)  # noqa: ASYNC220 - it starts at once
    client = client_of(f"http://127.0.0.1:{port}", "none", connections=1, timeout=60)
    try:
        while True:
            try:
                await client.get("/?0")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.02)
        yield client
    finally:
        await client.aclose()
        process.terminate()
        process.wait()


async def download(client: httpx.AsyncClient) -> None:
    """Receive CONTENT_BYTES, as a page-in over HTTP does."""
    received = 0
    async with client.stream("GET", f"/?{CONTENT_BYTES >> 20}") as response:
        async for chunk in response.aiter_raw():
            received += len(chunk)
    assert received == CONTENT_BYTES


async def upload(client: httpx.AsyncClient) -> None:
    """Send CONTENT_BYTES, as a page-out over HTTP does."""

    async def content() -> AsyncIterator[bytes]:
        for _ in range(CONTENT_BYTES >> 20):
            yield CHUNK

    response = await client.post("/?0", content=content(), headers={"content-length": str(CONTENT_BYTES)})
    assert response.status_code == httpx.codes.OK


@pytest.mark.benchmark(group="256 MiB of page contents")
@pytest.mark.parametrize("way", [download, upload], ids=["download", "upload"])
def test_bare_stream(
    benchmark: BenchmarkFixture, stage: Stage, way: Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]
) -> None:
    with stage.entered(bare_service()) as client:
        benchmark.pedantic(lambda: stage.run(way(client)), rounds=7, warmup_rounds=1)
