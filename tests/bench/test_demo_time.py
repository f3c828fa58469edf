"""How long the tour takes."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from scenarios.pef_command import pef


@pytest.mark.benchmark(group="the tour")
def test_demo(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    ran = benchmark.pedantic(lambda: pef("demo", runtime=tmp_path), rounds=1)
    assert ran.returncode == 0, ran.stdout + ran.stderr
