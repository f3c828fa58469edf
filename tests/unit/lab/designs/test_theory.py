"""A run is compared with theory."""

from pef_lab.designs.boot import Cost
from pef_lab.designs.report import VERDICTS, DesignReport
from pef_lab.designs.theory import surprises
from pef_lab.findings import Verdict
from pef_lab.watch import Counters
from pef_protocol.designs import Design
from pef_protocol.events import Side

COST = Cost(0.25, Counters(20, 9, 1234, 5 << 20), {Side.HYPERVISOR: 2.0, Side.ULTRAVISOR: 1.5})


def report(name: Design, carried: int = 10, **verdicts: Verdict) -> DesignReport:
    cost = Cost(0.1, Counters(1, 1, carried, 0), COST.bytes_per_gfn)
    return DesignReport(name, cost, {**dict.fromkeys(VERDICTS, Verdict.OK), **verdicts}, ())


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
