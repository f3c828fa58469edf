"""The longest callback on the event loop of both services, step by step of the life of a large VM."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from limits.life import longest_callbacks_of_a_process
from limits.pair_on_one_loop import GIB, Longest

SIZES = {"16GiB": 16 * GIB, "512GiB": 512 * GIB, "4TiB": 4096 * GIB}


@pytest.mark.benchmark(group="the life of a large VM; its longest callbacks stand below")
@pytest.mark.parametrize("size", SIZES)
def test_longest_callback(benchmark: BenchmarkFixture, size: str) -> None:
    def live() -> dict[str, Longest]:
        return longest_callbacks_of_a_process(SIZES[size])

    benchmark.extra_info["longest callbacks"] = benchmark.pedantic(live, rounds=1)
