"""The explorer's speed: the first transitions of a search of a VM of one GFN, in one process.

Source: issue 3: at least 3,000 transitions a second a core.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.promises import EXPLORED
from pef_explorer.plan import Part, Plan
from pef_explorer.search.search import Search
from pef_protocol.designs import Design

PLAN = Plan(Design.TRACKED, (Part.UNMIGRATED,), plug=0)


def explored() -> int:
    """Explore the plan, so far; return how many transitions were made."""
    search = Search(PLAN)
    search.go_on(lambda progress: progress.transitions >= EXPLORED)
    return search.progress.transitions


@pytest.mark.benchmark(group="explorer")
def test_explorer(benchmark: BenchmarkFixture) -> None:
    made = benchmark.pedantic(explored, rounds=5, warmup_rounds=1)
    assert EXPLORED <= made < 1.05 * EXPLORED
