"""The benchmarks' stage, and the ratios that they are for: quoted from one run, as machines are noisy."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bench.promises import PROMISES, Medians
from bench.stage import Stage


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        yield Stage(runner)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print every promise whose measurements this run has."""
    session = getattr(config, "_benchmarksession", None)
    medians: Medians = {each.name: each.stats.median for each in getattr(session, "benchmarks", ())}
    rows = [row for promise in PROMISES if (row := promise.judged(medians))]
    if rows:
        terminalreporter.section("promises, as ratios of this run")
        for row in rows:
            terminalreporter.write_line(row)
    for each in getattr(session, "benchmarks", ()):
        if steps := each.extra_info.get("longest callbacks"):
            terminalreporter.section(f"longest callback of {each.name}: ms of CPU time, ms by the clock")
            for step, longest in steps.items():
                processor, clock = (1000 * seconds for seconds in longest)
                terminalreporter.write_line(f"{processor:8.1f} {clock:8.1f}  {step}")
