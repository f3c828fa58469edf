"""What `pef replay` does, and what `pef trace` does with a counterexample."""

from pathlib import Path

from rich.console import Console

from pef_lab.between.wire import Ports
from pef_lab.commandline import FAILED
from pef_lab.replay import drawing
from pef_lab.replay.counterexample import Counterexample, read
from pef_lab.replay.playable import fits
from pef_lab.replay.player import Difference, Replayed, run_counterexample
from pef_lab.replay.verdict import NO_INVARIANT, bears_out, can_be_seen
from pef_lab.replay.wire import wired
from pef_lab.signals import run


def replay(file: Path, ports: Ports | None, console: Console, errors: Console) -> int:
    """Play a file, show what was seen or the first difference, and return the command's status.

    What was seen is judged here as well: where the file's invariant could be seen broken, and was not, the
    status is that of a finding.
    """
    found = read(file)
    fits(found)
    try:
        replayed = run(_play(found, ports))
    except Difference as difference:
        errors.print(
            f"✘ {file}: it came out otherwise at {difference.where}",
            style="bold red",
            markup=False,
            soft_wrap=True,
        )
        errors.print(f"  the file says: {difference.expected}", markup=False, soft_wrap=True)
        errors.print(f"  seen:          {difference.seen}", markup=False, soft_wrap=True)
        return FAILED
    console.print(
        f"✔ {found.title}: {len(found.steps)} steps over HTTP, all as the file says; design {found.design}",
        style="green",
        markup=False,
        soft_wrap=True,
    )
    said = f"The file says, after step {found.violated_after}: {found.invariant}"
    console.print(said, style="bold", markup=False, soft_wrap=True)
    console.print(f"  {found.sentence}", markup=False, soft_wrap=True)
    console.print("Judged here, by what was observed:", style="bold")
    for line in [*map(str, replayed.breaches)] or ["nothing is broken"]:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    for gfn, (hypervisor, ultravisor) in replayed.tables.items():
        observe = replayed.observations[gfn]
        line = drawing.row(gfn, (hypervisor, ultravisor), observe)
        console.print(f"  {line}", markup=False, soft_wrap=True)
    if not bears_out(found, replayed.breaches):
        errors.print(
            f"✘ {file}: what was observed does not bear the file out",
            style="bold red",
            markup=False,
            soft_wrap=True,
        )
        return FAILED
    if found.invariant != NO_INVARIANT and not can_be_seen(found):
        console.print(
            f"{found.invariant} can't be seen from outside: it is the file's word alone", soft_wrap=True
        )
    return 0


async def _play(found: Counterexample, ports: Ports | None) -> Replayed:
    async with wired(ports) as wire:
        return await run_counterexample(found, wire)


def draw(found: Counterexample, console: Console) -> None:
    """Show a counterexample as a sequence."""
    console.print(f"{found.title} (design {found.design})", style="bold", markup=False, soft_wrap=True)
    console.print(drawing.table(found))
    for line in drawing.tables_of(found):
        console.print(line, markup=False, soft_wrap=True)
