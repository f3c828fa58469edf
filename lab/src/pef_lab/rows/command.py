"""What `pef rows` does: decides what is tested, plays the rows, tells what came of it."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

from pef_lab.commandline import FAILED
from pef_lab.endpoints import OF_OUTSIDERS, find_endpoints
from pef_lab.estimates import ROW, say_how_long
from pef_lab.failures import OperatorFault, Unanswered, Unreached, WrongInput
from pef_lab.output import must_be_writable
from pef_lab.ports import LOOPBACK
from pef_lab.rows.admission import admit
from pef_lab.rows.catalogue import all_rows, check_patterns, chosen, rows_of, unmade
from pef_lab.rows.junit import write_junit
from pef_lab.rows.ledger import PassReport, every, holds
from pef_lab.rows.passes import OWN, Listening, hypervisor_at, pair_at, ultravisor_at
from pef_lab.rows.report import show, write_json
from pef_lab.rows.row import Row
from pef_lab.rows.run import error_of, play
from pef_lab.rows.stage import Stage
from pef_lab.rows.subject import Subject
from pef_lab.rows.telling import telling
from pef_lab.rows.waivers import Waiver, read_waivers, said_of, waived
from pef_lab.signals import run
from pef_lab.tables import console_for

MAY_BE_MISSING: Final = frozenset({"observer_token"})
"""Without it nothing can be looked at, and rows infer."""
VISOR_TOKENS: Final = frozenset({"ultravisor_token", "hypervisor_token"})
NEEDS: Final = {
    Subject.PAIR: (OF_OUTSIDERS | VISOR_TOKENS) - MAY_BE_MISSING,
    Subject.ULTRAVISOR: VISOR_TOKENS | {"ultravisor_url", "ultravisor_guest_key"},
    Subject.HYPERVISOR: VISOR_TOKENS | {"hypervisor_url", "hypervisor_guest_key", "vmm_token"},
}
"""Parts of the endpoints that it takes to test a subject that runs already."""

Open = Callable[[float], AbstractAsyncContextManager[Stage]]


@dataclass(frozen=True, slots=True)
class Target:
    """A subject and how its stage is set; `runs_already` where it is somebody else's."""

    subject: Subject
    opened: Open
    runs_already: bool = True


def rows(
    ultravisor: str | None,
    hypervisor: str | None,
    peer_port: int | None,
    bind: str | None,
    pattern: Sequence[str] | None,
    json_file: Path | None,
    junit: Path | None,
    waive: Path | None,
    patience: float,
    listed: bool,
) -> None:
    """Play the rows that are meant, tell what came of them, and fail where a promise is not kept."""
    patterns = tuple(pattern or ())
    check_patterns(all_rows(), patterns)
    if listed:
        _list(chosen(all_rows(), patterns))
        return
    if not (isfinite(patience) and patience > 0):
        raise WrongInput("--patience: a number of seconds is wanted, more than 0")
    waivers = read_waivers(waive) if waive else ()
    targets = targets_of(ultravisor, hypervisor, peer_port, bind or LOOPBACK)
    for file in (json_file, junit):
        must_be_writable(file)
    today = datetime.now(UTC).date()
    console = console_for(errors=True)
    passes: list[PassReport] = []
    try:
        run(_play(targets, patterns, patience, partial(_waived, waivers, today), console, passes))
    except OperatorFault:
        if passes:
            show(console_for(), passes, unmade(), ())
        raise
    said = said_of(waivers, list(every(passes)), all_rows(), today)
    show(console_for(), passes, unmade(), said)
    if json_file:
        write_json(json_file, passes, unmade(), said)
    if junit:
        write_junit(junit, passes)
    raise typer.Exit(0 if holds(passes) else FAILED)


def targets_of(
    ultravisor: str | None, hypervisor: str | None, peer_port: int | None, bind: str
) -> tuple[Target, ...]:
    """Return what is tested; raise WrongInput where that is not clear, or not all that it takes is there."""
    subject = _subject(ultravisor, hypervisor, peer_port)
    endpoints = find_endpoints(needs=NEEDS[subject], ultravisor_url=ultravisor, hypervisor_url=hypervisor)
    if endpoints is None:
        return tuple(Target(each, opened, runs_already=False) for each, opened in OWN.items())
    listening = Listening(bind, peer_port or 0)
    opened: Open = {
        Subject.PAIR: partial(pair_at, endpoints),
        Subject.ULTRAVISOR: partial(ultravisor_at, endpoints, listening=listening),
        Subject.HYPERVISOR: partial(hypervisor_at, endpoints, listening=listening),
    }[subject]
    return (Target(subject, opened),)


def _subject(ultravisor: str | None, hypervisor: str | None, peer_port: int | None) -> Subject:
    """Return which subject is meant: a port for the peer, and one URL, make it one side alone."""
    if peer_port is None:
        if bool(ultravisor) != bool(hypervisor) and not _both_known(ultravisor, hypervisor):
            raise WrongInput(
                "a pair takes --ultravisor-url and --hypervisor-url; one side alone also --peer-port"
            )
        return Subject.PAIR
    if bool(ultravisor) == bool(hypervisor):
        raise WrongInput(
            "--peer-port takes either --ultravisor-url or --hypervisor-url: the side that is tested alone"
        )
    return Subject.ULTRAVISOR if ultravisor else Subject.HYPERVISOR


def _both_known(ultravisor: str | None, hypervisor: str | None) -> bool:
    """Tell whether the environment has the URL that was not given."""
    found = find_endpoints(needs=frozenset(), ultravisor_url=ultravisor, hypervisor_url=hypervisor)
    return found is not None and bool(found.ultravisor_url and found.hypervisor_url)


async def _play(
    targets: Sequence[Target],
    patterns: Sequence[str],
    patience: float,
    judge: Callable[[PassReport], PassReport],
    console: Console,
    passes: list[PassReport],
) -> None:
    """Play the rows on each target on which one of them can be played; add each pass to `passes`."""
    wanted = {target.subject: chosen(rows_of(target.subject), patterns) for target in targets}
    can_be = [target for target in targets if any(target.subject in row.of for row in wanted[target.subject])]
    if not can_be:
        raise WrongInput(
            "--id: none of these rows can be played on this subject; `pef rows --list` says where"
        )
    ours = [target for target in can_be if not target.runs_already]
    say_how_long(console, ROW * sum(len(wanted[target.subject]) for target in ours))
    for target in can_be:
        done = judge(await _pass(target, wanted[target.subject], patience, console))
        passes.append(done)


async def _pass(target: Target, wanted: Sequence[Row], patience: float, console: Console) -> PassReport:
    """Play the rows of one pass; each of them is an error where the subject can't be spoken to.

    Raise Unanswered where a subject of our own does not start, or where none is to be reached.
    """
    began = time.perf_counter()
    try:
        async with target.opened(patience) as stage:
            if target.runs_already:
                await admit(stage.sides)
                say_how_long(console, ROW * len(wanted))
            with telling(console, target.subject, len(wanted)) as tell:
                played = await play(stage, wanted, patience, tell)
    except Unanswered as silence:
        if not target.runs_already or isinstance(silence, Unreached):
            raise
        played = [error_of(row, str(silence)) for row in wanted]
    return PassReport(target.subject, tuple(played), time.perf_counter() - began)


def _waived(waivers: Sequence[Waiver], today: date, report: PassReport) -> PassReport:
    played = tuple(waived(each, waivers, today) for each in report.played)
    return PassReport(report.subject, played, report.seconds)


def _list(wanted: Sequence[Row]) -> None:
    """List rows: id, kind, subjects, clause."""
    for row in wanted:
        typer.echo(f"{row.id}\t{row.kind}\t{row.level}\t{', '.join(sorted(row.of))}\t{row.clause}")
