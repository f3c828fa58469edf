"""Nothing outlives its VM: each operation is suspended at each yield, and every other one is run there."""

from typing import Final

import pytest

from interleavings.checks import KINDS
from interleavings.matrix import Report, run_all
from interleavings.printed import wrong_reasons

pytestmark = pytest.mark.verify

LEAST: Final = 10_000
FOUND: Final = frozenset(
    {
        "foreign bytes",
        "bytes in a free page",
        "a page holds zero",
        "a page holds a value of before",
        "a page in flight is mapped",
        "acts after its end",
        "asks after its end",
        "moves bytes after its end",
        "works after its end",
        "a GFN's states differ",
        "the pools differ",
        "an SVM is aborted",
        "a VM can't be ended",
        "bytes are left",
    }
)
"""What is violated today. Each is repaired by itself, and its line goes with it."""


@pytest.fixture(scope="module")
def report() -> Report:
    return run_all()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.xfail(strict=True, reason="red")] if kind in FOUND else [])
        for kind in KINDS
    ],
)
def test_no_case_violates(report: Report, kind: str) -> None:
    example = report.examples.get(kind, (0, ""))[1]
    assert not report.kinds[kind], f"{report.kinds[kind]} cases, as: {example}"


def test_every_violation_is_of_a_known_kind(report: Report) -> None:
    assert set(report.kinds) <= set(KINDS)


def test_every_operation_meets_every_other_one_or_it_is_said_why_not(report: Report) -> None:
    assert list(wrong_reasons(report.cells)) == []
    assert report.cases >= LEAST
