"""Observations, verdicts, the report of a design, and its comparison with theory."""

import json
from pathlib import Path

from pef_lab.designs.boot import Cost
from pef_lab.designs.report import VERDICTS, DesignReport, report_of, write_json
from pef_lab.designs.theory import surprises
from pef_lab.failures import Refusal, Unanswered
from pef_lab.findings import Findings, Observation, Verdict
from pef_lab.watch import Counters
from pef_protocol.designs import Design
from pef_protocol.events import Side

COST = Cost(0.25, Counters(20, 9, 1234, 5 << 20), {Side.HYPERVISOR: 2.0, Side.ULTRAVISOR: 1.5})


def fail(failure: Exception) -> None:
    raise failure


def report(name: Design, carried: int = 10, **verdicts: Verdict) -> DesignReport:
    cost = Cost(0.1, Counters(1, 1, carried, 0), COST.bytes_per_gfn)
    return DesignReport(name, cost, {**dict.fromkeys(VERDICTS, Verdict.OK), **verdicts}, ())


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


def test_the_json_of_a_report_has_the_fields_that_were_promised(tmp_path: Path) -> None:
    findings = Findings()
    with findings.step("first_boot"):
        findings.see("guest reads its kernel", "as it was built", "as it was built", ok=True)
    write_json(tmp_path / "designs.json", [report_of(Design.TRACKED, COST, findings)])
    assert json.loads((tmp_path / "designs.json").read_text()) == {
        "designs": [
            {
                "name": "tracked",
                "seconds": 0.25,
                "messages": {"ultracalls": 20, "hypercalls": 9},
                "gfns_carried": 1234,
                "bytes_moved": 5 << 20,
                "bytes_per_gfn": {"hypervisor": 2.0, "ultravisor": 1.5},
                "verdicts": {
                    "first_boot": "ok",
                    "host_reads": "error",
                    "guest_reads": "error",
                    "reboot": "error",
                    "second_esm": "error",
                    "hot_add": "error",
                    "hot_remove": "error",
                    "share_unshare": "error",
                },
                "observations": [
                    {
                        "step": "first_boot",
                        "verdict": "ok",
                        "what": "guest reads its kernel",
                        "expected": "as it was built",
                        "observed": "as it was built",
                    }
                ],
            }
        ]
    }


def test_a_run_that_never_became_secure_has_a_report_too() -> None:
    shown = report_of(Design.PUSHED, None, Findings()).as_json()
    assert (shown["seconds"], shown["gfns_carried"], shown["bytes_per_gfn"]) == (
        0.0,
        0,
        {"hypervisor": 0.0, "ultravisor": 0.0},
    )


def test_runs_as_in_theory_are_no_surprise() -> None:
    corrupt = Verdict.CORRUPT
    reports = [
        report(Design.EAGER, 20_000, hot_add=corrupt),
        report(Design.BROKEN, host_reads=corrupt, reboot=corrupt, hot_add=corrupt),
        report(Design.TRACKED),
        report(Design.TRACKED_PAGEIN),
        report(Design.PUSHED, host_reads=corrupt, first_boot=Verdict.ERROR),
        report(Design.PUSHED_ALWAYS, host_reads=corrupt),
        report(Design.PUSHED_FIXED),
    ]
    assert surprises(reports, 1 << 30) == []


def test_every_departure_from_theory_is_a_surprise() -> None:
    reports = [
        report(Design.EAGER, 100),
        report(Design.BROKEN, reboot=Verdict.CORRUPT, hot_add=Verdict.ERROR),
        report(Design.TRACKED, 1 << 14, reboot=Verdict.CORRUPT),
        report(Design.PUSHED_FIXED, guest_reads=Verdict.CORRUPT),
    ]
    assert surprises(reports, 1 << 30) == [
        "eager: hot_add came out ok, expected corrupt or refused",
        "broken: host_reads came out ok, expected corrupt",
        "broken: hot_add came out error, expected corrupt or refused",
        "tracked: reboot came out corrupt, expected ok",
        "pushed-fixed: guest_reads came out corrupt, expected ok",
        "eager: UV_ESM carried 100 GFNs, fewer than the VM has",
        "tracked: UV_ESM carried 16,384 GFNs, no fewer than the VM has",
    ]
