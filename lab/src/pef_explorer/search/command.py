"""What `pef explore` does: everything that can happen to a small VM, under each design."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.live import Live

from pef_explorer.engines import engine_for, processors
from pef_explorer.plan import Extra, Plan
from pef_explorer.search.counterexample import counterexample
from pef_explorer.search.exploration import REPORT_EVERY, Bounds, Row, file_of, plans_of
from pef_explorer.search.exploration import explore as explored
from pef_explorer.search.search import Progress
from pef_lab.blocks import Blocks
from pef_lab.commandline import FAILED
from pef_lab.estimates import SMALL_DESIGN, TRANSITION, say_how_long, say_that_nobody_knows
from pef_lab.failures import WrongInput
from pef_lab.known_designs import ALL, GROUPS, chosen_designs
from pef_lab.output import must_be_writable, write_file
from pef_lab.tables import console_for
from pef_lab.version import commit
from pef_protocol.designs import DesignName


def explore_designs(
    design: Sequence[str] | None,
    bounds: Bounds,
    state: Path | None,
    json_file: Path | None,
    keep: Path | None,
    processes: int | None,
    scheduler: str | None,
    *,
    mutants: Sequence[str] = (),
) -> None:
    """Explore the designs, tell and write what was found, and fail where an invariant is violated.

    `mutants`: the deliberate faults that this process has, to be named beside what was found.
    """
    chosen = chosen_designs(design or [ALL], GROUPS)
    for directory in (state, keep):
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
    if json_file is not None:
        must_be_writable(json_file)
    program = f"python -m pef_mutants explore {' '.join(mutants)}" if mutants else "pef explore"
    command_line, version = _command(program, chosen, bounds), commit()
    console = console_for()
    if processes is None and scheduler is None:
        processes = processors()
    rows: list[Row] = []
    errors = console_for(errors=True)
    with engine_for(processes, scheduler) as engine:
        _say_how_long(errors, chosen, bounds, processes or processors())
        with _watching(errors) as report_progress:
            rows.extend(explored(engine, chosen, bounds, report_progress, state))
    console.print(table_of(rows, f"{command_line}, commit {version}"))
    mutant = mutants[0] if len(mutants) == 1 else None
    report = [report_of(row, keep, command_line, version, console, mutant) for row in rows]
    if json_file is not None:
        content = {"command": command_line, "commit": version, "designs": report}
        write_file(json_file, [json.dumps(content, indent=2), "\n"])
    if any(row.violations for row in rows):
        raise typer.Exit(FAILED)


def _say_how_long(console: Console, designs: Sequence[DesignName], bounds: Bounds, processes: int) -> None:
    """Say about how long the search will take, where that is known, or what bounds it."""
    plans = sum(len(plans_of(design, bounds)) for design in designs)
    at_once = max(1, min(processes, plans))
    most = [bounds.seconds] * bool(bounds.seconds) + [bounds.limit * TRANSITION] * bool(bounds.limit)
    if most:
        say_how_long(console, plans * min(most) / at_once)
    elif bounds == Bounds(slots=(1, 0)):
        say_how_long(console, SMALL_DESIGN * len(designs) / at_once)
    elif bounds.calls > 1:
        say_that_nobody_knows(console, "`--minutes` and `--limit` bound it, `--state` lets it be continued")


def slots_of(text: str) -> tuple[int, int]:
    """Read `2,1` or `2`."""
    first, _, second = text.partition(",")
    if not (first.isdecimal() and (second.isdecimal() or not second)):
        raise WrongInput(f"--slots: {text!r} is not N or N,M")
    return int(first), int(second or 0)


def extras_of(text: str) -> frozenset[Extra]:
    """Read names with commas between them; none: nothing more."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in {*Extra}:
            raise WrongInput(f"--with: there is no {name!r}; there are {', '.join(Extra)}")
    return frozenset(map(Extra, names))


def _command(program: str, designs: list[DesignName], bounds: Bounds) -> str:
    group = next((name for name, each in GROUPS.items() if list(each) == designs), None)
    names = [group] if group else [*designs]
    words = [
        program,
        *(f"--design {name}" for name in names),
        f"--slots {bounds.slots[0]},{bounds.slots[1]}",
    ]
    words.append(f"--vcpus {bounds.vcpus}")
    usual = Bounds()
    words += [f"--calls {bounds.calls}"] * (bounds.calls != usual.calls)
    words += [f"--faults {bounds.faults}"] * (bounds.faults != usual.faults)
    words += [f"--wire {bounds.delivery}"] * (bounds.delivery != usual.delivery)
    words += [
        f"--{name.replace('_', '-')} {count}" for name, count in bounds.troubles._asdict().items() if count
    ]
    words += ["--guest-waits"] * bounds.guest_waits
    words += [f"--with {','.join(sorted(bounds.extras))}"] * bool(bounds.extras)
    words += [f"--limit {bounds.limit}"] * bool(bounds.limit)
    words += [f"--minutes {bounds.seconds / 60:g}"] * bool(bounds.seconds)
    return " ".join(words)


def table_of(rows: list[Row], title: str) -> Blocks:
    """Return the rows as a table."""
    table = Blocks(("design", "states", "transitions", "depth", "seconds", "a second", "verdict"), title)
    for row in rows:
        violations = [f"{violation.invariant} ({len(violation.moves)})" for _, violation in row.violations]
        sound = "no reachable state breaks an invariant" if row.complete else "nothing broken so far: cut"
        table.add_row(
            row.design,
            f"{row.states:,}",
            f"{row.transitions:,}",
            f"{row.depth}" if row.complete else f"{row.depth} done",
            f"{row.seconds:.0f}",
            f"{row.transitions / max(row.seconds, 1e-9):,.0f}",
            "\n".join(violations) if violations else sound,
        )
    return table


def report_of(
    row: Row, keep: Path | None, command: str, version: str, console: Console, mutant: str | None = None
) -> dict[str, Any]:
    """Return a row as JSON; write its counterexamples where they are kept, and print the violations."""
    violations: list[dict[str, Any]] = []
    for plan, violation in row.violations:
        file = None
        content = counterexample(plan, violation, command, version, mutant)
        if keep is not None:
            file = file_of(keep, plan, violation)
            write_file(file, [json.dumps(content, indent=1), "\n"])
        length = content["violated_after"]
        violations.append(
            {"invariant": violation.invariant, "length": length, "file": str(file) if file else None}
        )
        console.print(
            f"✘ {row.design}: {violation.invariant} after {length} steps: {violation.sentence}",
            markup=False,
            soft_wrap=True,
        )
        if file:
            console.print(f"  again, over HTTP: pef replay {file}", markup=False, soft_wrap=True)
    return {
        "name": row.design,
        "states": row.states,
        "transitions": row.transitions,
        "depth": row.depth,
        "complete": row.complete,
        "with": sorted(row.found[0].plan.extras),
        "seconds": round(row.seconds, 1),
        "violations": violations,
    }


@contextmanager
def _watching(console: Console) -> Iterator[Callable[[Plan, Progress], None]]:
    """Return a function that shows the progress of a search: live in a terminal, now and then elsewhere."""
    latest: dict[Plan, tuple[Progress, float]] = {}
    began: dict[Plan, float] = {}
    said = time.perf_counter()

    def note(plan: Plan, progress: Progress) -> None:
        now = time.perf_counter()
        began.setdefault(plan, now - REPORT_EVERY)
        latest[plan] = progress, progress.states / (now - began[plan])

    def lines() -> str:
        return "\n".join(
            f"{plan.design} ({', '.join(plan.image)}): {each.states:,} states, frontier {each.frontier:,}, "
            f"depth {each.depth}, {rate:,.0f} states/s"
            for plan, (each, rate) in list(latest.items())[-SHOWN_AT_ONCE:]
        )

    if console.is_terminal:
        with Live("", console=console, transient=True) as live:

            def show(plan: Plan, progress: Progress) -> None:
                note(plan, progress)
                live.update(lines())

            yield show
        return

    def say(plan: Plan, progress: Progress) -> None:
        nonlocal said
        note(plan, progress)
        if time.perf_counter() - said >= SAID_EVERY:
            said = time.perf_counter()
            console.print(lines(), markup=False, soft_wrap=True)
            console.file.flush()

    yield say


SHOWN_AT_ONCE: Final = 4
SAID_EVERY: Final = 10.0
"""Seconds between two lines where there is no terminal."""
