"""Shows how far the rows of a pass are: a bar in a terminal, a line that grows by tenths elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pef_lab.rows.catalogue import line_of
from pef_lab.rows.row import Played
from pef_lab.rows.run import Tell
from pef_lab.rows.subject import Subject

TENTHS = 10


@contextmanager
def telling(console: Console, subject: Subject, rows: int) -> Iterator[Tell]:
    """Return what to tell each row of a pass to."""
    with (_bar if console.is_terminal else _line)(console, subject, rows) as tell:
        yield tell


@contextmanager
def _bar(console: Console, subject: Subject, rows: int) -> Iterator[Tell]:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(f"{subject} · starting", total=rows)

        def tell(played: Played) -> None:
            progress.update(bar, advance=1, description=f"{subject} · {line_of(played.row)}")

        yield tell


@contextmanager
def _line(console: Console, subject: Subject, rows: int) -> Iterator[Tell]:
    done = 0
    console.print(f"{subject}, {rows} rows:", end="")
    console.file.flush()

    def tell(_: Played) -> None:
        nonlocal done
        done += 1
        if done * TENTHS // rows > (done - 1) * TENTHS // rows:
            console.print(f" {done * 100 // rows}%", end="", soft_wrap=True)
            console.file.flush()

    try:
        yield tell
    finally:
        console.print()
