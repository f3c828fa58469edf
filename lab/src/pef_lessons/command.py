"""`pef lesson list`, `start`, `check` and `grade`, as they are typed.

Each imports what it works with when it runs.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from pef_lab import options as given
from pef_lab.failures import WrongInput

SERVICES: Final = ("pef_ultravisor", "pef_hypervisor")

app: Final = typer.Typer(
    help="Lessons on the trust boundary: list them, start one, check a hand-in, grade a class.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Number = Annotated[str, typer.Argument(metavar="N", help="The lesson (1 to 12).")]


def _require_services() -> None:
    """Raise WrongInput where the services are not installed, whose own code the lessons run."""
    if missing := [name for name in SERVICES if find_spec(name) is None]:
        raise WrongInput(f"{' and '.join(missing)} not installed: this command takes pef-lab[explorer]")


@app.command(name="list")
def list_lessons() -> None:
    """List the lessons with their goals."""
    _require_services()
    from pef_lessons.all_lessons import LESSONS

    for lesson in LESSONS.values():
        typer.echo(f"{lesson.number:>2}  {lesson.title}\n      {lesson.goal}")


@app.command()
def start(number: Number, student: given.Student = "", hand_in: given.HandIn = None) -> None:
    """Print a lesson and begin it; lesson 10 writes a template, lesson 11 starts a pair with a fault."""
    _require_services()
    from pef_lessons.starting import start_lesson

    start_lesson(number, student, hand_in)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A hand-in.")], lesson: given.OfLesson = None
) -> None:
    """Say whether a hand-in reaches the goal of its lesson, or what is missing; fail where it does not."""
    _require_services()
    from pef_lessons.reporting import check_hand_in

    check_hand_in(file, lesson)


@app.command()
def grade(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with hand-ins (*.json).")],
    lesson: given.OfLesson = None,
    json_file: given.JsonFile = None,
    csv_file: given.CsvFile = None,
) -> None:
    """Check each hand-in of a folder by making its moves again, and print a table."""
    _require_services()
    from pef_lessons.reporting import grade_hand_ins

    grade_hand_ins(directory, lesson, json_file, csv_file)
