"""Observations and verdicts of a design's steps."""

import pytest

from pef_lab.failures import OperatorFault, Refusal, Unanswered
from pef_lab.findings import Findings, Observation, Verdict


def fail(failure: Exception) -> None:
    raise failure


def test_a_steps_verdict_is_its_worst_observation() -> None:
    findings = Findings()
    for verdict in (Verdict.OK, Verdict.CORRUPT, Verdict.REFUSED):
        with findings.step("reboot"):
            findings.add(verdict, "a page", "zero", "something")
    with findings.step("hot_add"):
        assert findings.see("a page", "zero", "zero", ok=True)
    assert findings.verdict("reboot") is Verdict.CORRUPT
    assert findings.verdict("hot_add") is Verdict.OK


def test_a_step_that_was_never_reached_is_an_error() -> None:
    assert Findings().verdict("reboot") is Verdict.ERROR


def test_what_goes_wrong_in_a_step_is_an_observation_of_that_step() -> None:
    findings = Findings()
    with findings.step("outer"):
        with findings.step("hot_add"):
            fail(Refusal("plug", "EBUSY", "in use"))
        fail(KeyError("lpid"))
    assert findings.observations == [
        Observation("hot_add", Verdict.REFUSED, "plug is answered", "success", "plug: EBUSY (in use)"),
        Observation("outer", Verdict.ERROR, "the step runs to its end", "no failure", "KeyError: 'lpid'"),
    ]


@pytest.mark.parametrize(
    "fault",
    [Unanswered("POST /reset", "no answer"), OperatorFault("no room"), OSError(28, "full"), MemoryError()],
)
def test_a_fault_of_the_machine_is_no_observation(fault: Exception) -> None:
    findings = Findings()
    with pytest.raises(type(fault)), findings.step("reboot"):
        fail(fault)
    assert findings.observations == []
