"""Observations and verdicts of a design's steps."""

from pef_lab.failures import Refusal, Unanswered
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
        with findings.step("reboot"):
            fail(Unanswered("POST /reset", "no answer"))
        fail(KeyError("lpid"))
    assert findings.observations == [
        Observation("hot_add", Verdict.REFUSED, "plug is answered", "success", "plug: EBUSY (in use)"),
        Observation(
            "reboot",
            Verdict.ERROR,
            "the step runs to its end",
            "no failure",
            "Unanswered: POST /reset: no answer",
        ),
        Observation("outer", Verdict.ERROR, "the step runs to its end", "no failure", "KeyError: 'lpid'"),
    ]
