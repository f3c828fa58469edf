"""A move of the console over HTTP beside an answer that does nothing; the map of a large VM.

Source: issue 12: a move is on the screen within 100 ms, the map of 100 GiB within 500 ms.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.promises import MOVES
from bench.stage import Stage, Yard, yard
from harness.console_process import ConsoleProcess, console_process
from pef_lab.guest import Guest
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.pair import PairPlan
from pef_protocol.designs import Design
from pef_protocol.quantities import Gpa

ESM = {"actor": "guest 0", "action": "UV_ESM"}
GO_ON = {"actor": "guest 0", "action": "go on"}
ROUNDS = 40
SIZE = 100 << 30
CELLS = 1200
"""About as many as the map is wide on a screen."""


@pytest.fixture(scope="module")
def client(stage: Stage) -> Iterator[httpx.Client]:
    """Give a client of a console that runs as a process of its own."""
    with stage.entered(console_process()) as console, entered(console) as client:
        yield client


@contextmanager
def entered(console: ConsoleProcess) -> Iterator[httpx.Client]:
    """Give a client that has entered."""
    with httpx.Client(base_url=console.url, trust_env=False, timeout=60) as client:
        secret = console.fragments[0].removeprefix("secret=")
        client.post("/api/v1/enter", json={"secret": secret}).raise_for_status()
        yield client


@pytest.mark.benchmark(group="console")
def test_console_bare_answers(benchmark: BenchmarkFixture, client: httpx.Client) -> None:
    def answers() -> None:
        for _ in range(MOVES):
            client.get("/api/v1/about").raise_for_status()

    benchmark.pedantic(answers, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group="console")
def test_console_moves(benchmark: BenchmarkFixture, client: httpx.Client) -> None:
    opened: list[str] = []

    def open_session() -> tuple[tuple[str], dict[str, str]]:
        for path in opened:
            client.delete(path).raise_for_status()
        answer = client.post(
            "/api/v1/sessions", json={"stage": "model", "design": "broken"}
        ).raise_for_status()
        opened[:] = [f"/api/v1/sessions/{answer.json()['id']}"]
        return (opened[0],), {}

    def make_moves(path: str) -> None:
        for move in (ESM, *[GO_ON] * (MOVES - 1)):
            client.post(f"{path}/move", json=move).raise_for_status()

    benchmark.pedantic(make_moves, setup=open_session, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group="console")
def test_console_map(benchmark: BenchmarkFixture, stage: Stage) -> None:
    """The VM is secure: both sides have a state of each of its 1,638,400 GFNs."""
    with stage.entered(yard(PairPlan(2 * SIZE, NormalMemoryForm.HTTP), SIZE)) as fixture:
        guest = stage.run(secure_guest(fixture))
        variables = fixture.pair.endpoints.environment
        with stage.entered(console_process(**variables)) as console, entered(console) as client:
            body = {"stage": "live", "design": "tracked", "system": {"lpid": guest.lpid}}
            session = client.post("/api/v1/sessions", json=body).raise_for_status().json()["id"]

            def access() -> None:
                stage.run(guest.store(Gpa(SIZE // 2), b"so that the map is made anew"))

            def fetch() -> None:
                octets = client.get(f"/api/v1/sessions/{session}/map", params={"cells": CELLS}).content
                assert len(octets) == 3 * CELLS

            benchmark.pedantic(fetch, setup=access, rounds=20)


async def secure_guest(fixture: Yard) -> Guest:
    """Return the guest of a new VM that has become secure."""
    guest = await fixture.boot(Design.TRACKED)
    await fixture.enter(guest)
    return guest
