"""Shows how far a long run is: a bar in a terminal, a growing line a design elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pef_lab.designs.run import STAGES, Tell
from pef_lab.sizes import show_seconds
from pef_protocol.designs import DesignName


@contextmanager
def reporting(console: Console, designs: int) -> Iterator[Tell]:
    """Return what to tell each stage of a run of `designs` designs to."""
    if console.is_terminal:
        with _bar(console, designs) as tell:
            yield tell
    else:
        with _lines(console) as tell:
            yield tell


@contextmanager
def waiting(console: Console, what: str) -> Iterator[None]:
    """Say what is waited for: while it lasts in a terminal, once elsewhere."""
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        console.print(f"{what} ...")
        console.file.flush()
        yield


@contextmanager
def _bar(console: Console, designs: int) -> Iterator[Tell]:
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting the pair", total=designs * STAGES)

        def tell(design: DesignName, stage: str) -> None:
            progress.update(bar, advance=1, description=f"{design} · {stage.replace('_', ' ')}")

        yield tell


@contextmanager
def _lines(console: Console) -> Iterator[Tell]:
    current: DesignName | None = None
    began = time.perf_counter()

    def end_line() -> None:
        if current is not None:
            console.print(f"  {show_seconds(time.perf_counter() - began)}", style="dim")

    def tell(design: DesignName, stage: str) -> None:
        nonlocal current, began
        if design != current:
            end_line()
            current, began = design, time.perf_counter()
            console.print(f"{design}:", end="")
        console.print(f" {stage}", end="", soft_wrap=True)
        console.file.flush()

    try:
        yield tell
    finally:
        end_line()
