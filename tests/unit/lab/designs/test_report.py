"""The report of a design."""

import json
from pathlib import Path

from pef_lab.designs.boot import Cost
from pef_lab.designs.report import report_of, write_json
from pef_lab.findings import Findings
from pef_lab.watch import Counters
from pef_protocol.designs import Design
from pef_protocol.events import Side

COST = Cost(0.25, Counters(20, 9, 1234, 5 << 20), {Side.HYPERVISOR: 2.0, Side.ULTRAVISOR: 1.5})


def test_the_json_of_a_report_has_the_fields_that_were_promised(tmp_path: Path) -> None:
    findings = Findings()
    with findings.step("first_boot"):
        findings.see("guest reads its kernel", "as it was built", "as it was built", ok=True)
    reports = [report_of(Design.TRACKED, COST, findings)]
    write_json(tmp_path / "designs.json", "pef designs", "0123abc", reports)
    assert json.loads((tmp_path / "designs.json").read_text()) == {
        "command": "pef designs",
        "commit": "0123abc",
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
        ],
    }


def test_a_run_that_never_became_secure_has_a_report_too() -> None:
    shown = report_of(Design.PUSHED, None, Findings()).as_json()
    assert (shown["seconds"], shown["gfns_carried"], shown["bytes_per_gfn"]) == (
        0.0,
        0,
        {"hypervisor": 0.0, "ultravisor": 0.0},
    )
