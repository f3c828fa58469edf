"""What `pef trace` does."""

from pathlib import Path

import typer

from pef_lab import trace
from pef_lab.replay import drawing
from pef_lab.replay.command import draw
from pef_lab.replay.counterexample import is_counterexample, read
from pef_lab.sequence import mermaid, steps_of
from pef_lab.tables import console_for, sequence_table


def show_recorded(file: Path, *, as_mermaid: bool) -> None:
    """Print a recorded run, or a counterexample, as a table or as a Mermaid diagram."""
    if is_counterexample(file):
        found = read(file)
        typer.echo("\n".join(drawing.mermaid(found))) if as_mermaid else draw(found, console_for())
        return
    header, events = trace.read(file)
    steps = steps_of(events)
    if as_mermaid:
        typer.echo("\n".join(mermaid(steps)))
        return
    console = console_for()
    console.print(header.title, style="bold", markup=False)
    console.print(sequence_table(steps, console.width))
