"""The longest callback on the event loop of both services, step by step of the life of a large VM."""

import asyncio

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from limits.pair_on_one_loop import GIB, Longest, measured_pair
from limits.vms import longest_callbacks

SIZES = {"16GiB": 16 * GIB, "512GiB": 512 * GIB, "4TiB": 4096 * GIB}


@pytest.mark.benchmark(group="the life of a large VM; its longest callbacks stand below")
@pytest.mark.parametrize("size", SIZES)
def test_longest_callback(benchmark: BenchmarkFixture, size: str) -> None:
    def live() -> dict[str, Longest]:
        with measured_pair(memory=SIZES[size]) as pair:
            return asyncio.run(longest_callbacks(pair, SIZES[size]))

    benchmark.extra_info["longest callbacks"] = benchmark.pedantic(live, rounds=1)
