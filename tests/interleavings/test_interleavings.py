"""Nothing outlives its VM: each operation is suspended at each yield, and every other one is run there."""

import pytest

from interleavings.checks import KINDS
from interleavings.matrix import LEAST, Report, run_all
from interleavings.printed import wrong_reasons

pytestmark = pytest.mark.verify


@pytest.fixture(scope="module")
def report() -> Report:
    return run_all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_case_violates(report: Report, kind: str) -> None:
    example = report.examples.get(kind, (0, ""))[1]
    assert not report.kinds[kind], f"{report.kinds[kind]} cases, as: {example}"


def test_every_violation_is_of_a_known_kind(report: Report) -> None:
    assert set(report.kinds) <= set(KINDS)


def test_every_operation_meets_every_other_one_or_it_is_said_why_not(report: Report) -> None:
    assert list(wrong_reasons(report.cells)) == []
    assert report.cases >= LEAST
