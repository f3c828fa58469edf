"""What `pef simulate` does: seeded random simulation of larger systems."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pef_explorer.engines import engine_for, processors
from pef_explorer.simulation import files
from pef_explorer.simulation.campaign import Report, campaign
from pef_explorer.simulation.course import course_of
from pef_lab.blocks import Blocks
from pef_lab.commandline import FAILED
from pef_lab.estimates import ACTION, say_how_long
from pef_lab.failures import WrongInput
from pef_lab.known_designs import GROUPS, chosen_designs
from pef_lab.output import must_be_writable, write_file
from pef_lab.tables import console_for
from pef_lab.version import commit
from pef_protocol.designs import Design


def simulate_design(
    seeds: int | None,
    first: int,
    design: Sequence[str] | None,
    processes: int | None,
    scheduler: str | None,
    steps: int,
    json_file: Path | None,
    keep: Path,
    file: Path | None,
) -> None:
    """Simulate one design, tell and write what was found, and fail where an invariant is violated."""
    if file is not None:
        _again(file, seeds)
        return
    if seeds is None:
        raise WrongInput("--seeds: give how many seeds to run")
    named = chosen_designs(design or [Design.TRACKED], GROUPS)
    if len(named) != 1:
        raise WrongInput("--design: one design is simulated at a time")
    (chosen,) = named
    if json_file is not None:
        must_be_writable(json_file)
    console, errors = console_for(), console_for(errors=True)
    say_how_long(errors, ACTION * steps * seeds / min(processes or 1, processors()))
    began = time.perf_counter()
    with engine_for(processes, scheduler) as engine, _reporting(errors, seeds) as report_progress:
        report = campaign(engine, chosen, range(first, first + seeds), steps, report_progress)
    seconds = time.perf_counter() - began
    version = commit()
    console.print(table_of(report, seconds))
    for found in report.shrunk:
        where = files.save(found, keep, version)
        console.print(f"✘ {found.failure.invariant}: {found.failure.sentence}", markup=False, style="red")
        who = f"design {found.seed.design}, seed {found.seed.number}, commit {version}"
        console.print(f"  {who}: {len(found.kept)} events in {where}", markup=False, soft_wrap=True)
        console.print(f"  again: pef simulate --file {where}", markup=False, soft_wrap=True)
    if json_file is not None:
        write_file(json_file, [json.dumps(report.as_json(version), indent=2), "\n"])
    if report.failed:
        raise typer.Exit(FAILED)


def _again(file: Path, seeds: int | None) -> None:
    """Run the file of a failure; fail where it breaks anything still."""
    if seeds is not None:
        raise WrongInput("--file and --seeds: give one of them")
    console, found = console_for(), files.read(file)
    failure = course_of(found.seed, found.kept).failure
    who = f"design {found.seed.design}, seed {found.seed.number}, {len(found.kept)} events"
    if failure is None:
        console.print(f"✔ {who}: all invariants hold", markup=False)
        return
    console.print(f"✘ {failure.invariant}: {failure.sentence}", markup=False, style="red")
    same = "the same invariant as" if failure.invariant == found.failure.invariant else "not the one of"
    console.print(f"  {who}: {same} the file's", markup=False)
    raise typer.Exit(FAILED)


def table_of(report: Report, seconds: float) -> Blocks:
    """Return what a campaign came to."""
    events = report.counted("events")
    row = {
        "seeds": f"{len(report.seeds):,}",
        "events": f"{events:,}",
        "actions": f"{report.counted('actions'):,}",
        "faults": f"{report.counted('faults'):,}",
        "seconds": f"{seconds:,.1f}",
        "events/s": f"{events / seconds:,.0f}",
        "verdict": f"✘ {len(report.failed)} seeds fail" if report.failed else "✔ all held",
    }
    table = Blocks([*row], f"{report.design}, {report.steps} actions a seed")
    table.add_row(*row.values())
    return table


@contextmanager
def _reporting(console: Console, seeds: int) -> Iterator[Callable[[str], None]]:
    """Return a function that shows each piece that is done: a bar in a terminal, nothing elsewhere."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=seeds)
        yield lambda stage: progress.update(bar, advance=0 if "shrunk" in stage else 1, description=stage)
