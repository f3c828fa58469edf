"""The explorer's speed: every interleaving of a VM of one GFN, to the end, in one process.

Source: issue 3: at least 3,000 transitions a second a core.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.promises import EXPLORED
from pef_explorer.plan import Part, Plan
from pef_explorer.search.search import Search
from pef_protocol.designs import Design

PLAN = Plan(Design.TRACKED, (Part.LEFT_OVER,), plug=0)


def explored() -> int:
    """Explore the plan to its end; return how many transitions were made."""
    search = Search(PLAN)
    search.go_on(lambda _: False)
    return search.transitions


@pytest.mark.benchmark(group="explorer")
def test_explorer(benchmark: BenchmarkFixture) -> None:
    made = benchmark.pedantic(explored, rounds=5, warmup_rounds=1)
    assert made == EXPLORED
