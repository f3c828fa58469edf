"""The page of performance promises what `make bench` measures."""

from pathlib import Path

import pytest

from bench.promises import PROMISES, Promise

PAGE = (Path(__file__).parents[3] / "docs" / "performance.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.says.partition(".")[0])
def test_the_page_has_every_promise_with_its_bound(promise: Promise) -> None:
    number, _, says = promise.says.partition(". ")
    bound = f"{'at most' if promise.at_most else 'at least'} {promise.bound:g}"
    assert f"| {number} | {says} | {bound} |" in PAGE


def test_the_page_has_seventeen_promises() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and line.split()[1].isdigit()]
    assert [int(row.split()[1]) for row in rows if row.count("|") == 6] == list(range(1, 18))
