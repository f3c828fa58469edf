"""What `pef designs` does."""

from collections.abc import Sequence
from pathlib import Path

from pef_lab import trace
from pef_lab.designs.report import DesignReport, write_json
from pef_lab.designs.run import Ordered, PairSource, check, fresh_pairs, run_designs, standing_pair
from pef_lab.endpoints import Endpoints
from pef_lab.estimates import DESIGN, TOUCHED_GIBIBYTE, say_how_long
from pef_lab.failures import OperatorFault
from pef_lab.normal_memory import NormalMemoryForm
from pef_lab.progress import reporting
from pef_lab.signals import run
from pef_lab.sizes import show_size
from pef_lab.tables import console_for, designs_table, faults_of
from pef_lab.trace import Recording
from pef_lab.version import commit


def compare(
    ordered: Ordered,
    endpoints: Endpoints | None,
    normal_memory: NormalMemoryForm,
    json_file: Path | None,
    trace_file: Path | None,
    command_line: str,
) -> None:
    """Run the designs, show the table and what came out otherwise, and write what is to be written."""
    check(ordered)
    source = standing_pair(endpoints) if endpoints else fresh_pairs(ordered.size, normal_memory)
    recording = Recording(wanted=trace_file is not None)
    reports: list[DesignReport] = []
    a_design = DESIGN + TOUCHED_GIBIBYTE * ordered.touched / (1 << 30)
    say_how_long(console_for(errors=True), a_design * len(ordered.designs))
    try:
        run(_run(ordered, source, recording, reports))
    except OperatorFault:
        _show(ordered, reports)
        raise
    _show(ordered, reports)
    if json_file:
        write_json(json_file, command_line, commit(), reports)
    if trace_file:
        trace.write(trace_file, command_line, recording.events)


def _show(ordered: Ordered, reports: Sequence[DesignReport]) -> None:
    """Show what has been seen: of all designs, or of those before the fault that ended the run."""
    if not reports:
        return
    console = console_for()
    title = f"VM of {show_size(ordered.size)}, {show_size(ordered.touched)} touched"
    console.print(designs_table(reports, title))
    for report in reports:
        for line in faults_of(report):
            console.print(line)


async def _run(
    ordered: Ordered, source: PairSource, recording: Recording, reports: list[DesignReport]
) -> None:
    """Run the designs; add the report of each to `reports` as soon as it is there."""
    with reporting(console_for(errors=True), len(ordered.designs)) as tell:
        async for report in run_designs(ordered, source, recording, tell):
            reports.append(report)  # noqa: PERF401 - a fault must not lose those before it
