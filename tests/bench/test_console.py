"""A move of the console over HTTP, its frame included, beside an answer of the same server that does nothing.

Source: issue 12: a move runs at most one step of one machine, and is on the screen within 100 ms.
"""

from collections.abc import Iterator

import httpx
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.promises import MOVES
from bench.stage import Stage
from harness.console_process import console_process

ESM = {"actor": "guest 0", "action": "UV_ESM"}
GO_ON = {"actor": "guest 0", "action": "go on"}
ROUNDS = 40


@pytest.fixture(scope="module")
def client(stage: Stage) -> Iterator[httpx.Client]:
    """Give a client of a console that runs as a process of its own."""
    with stage.entered(console_process()) as console:
        secret = console.fragments[0].removeprefix("secret=")
        with httpx.Client(base_url=console.url, trust_env=False) as entered:
            entered.post("/api/v1/enter", json={"secret": secret}).raise_for_status()
            yield entered


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
