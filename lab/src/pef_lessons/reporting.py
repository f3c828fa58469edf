"""What `pef lesson check` and `pef lesson grade` print and write."""

import json
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from pef_lab.commandline import FAILED
from pef_lab.failures import WrongInput
from pef_lab.output import must_be_writable, write_file
from pef_lab.tables import console_for
from pef_lessons.grading import Grade, as_csv, as_json, grade_file, grade_folder


def printable(text: str) -> str:
    """Return text of somebody else without what could move a cursor or colour a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def show_verdict(passed: bool, sentence: str) -> None:
    """Print a verdict as a line."""
    line = f"{'✔ passed' if passed else '✘ not yet'}: {printable(sentence)}"
    console_for().print(line, markup=False, highlight=False, soft_wrap=True)


def check_hand_in(file: Path, lesson: str | None) -> None:
    """Print the verdict on one hand-in; end with a failure where it did not pass."""
    if not file.exists():
        raise WrongInput(f"{printable(str(file))}: no such file")
    found = grade_file(file, lesson)
    show_verdict(found.passed, found.sentence)
    if not found.passed:
        raise typer.Exit(FAILED)


def grade_hand_ins(
    directory: Path, lesson: str | None, json_file: Path | None, csv_file: Path | None
) -> None:
    """Print a table with the verdict on each hand-in of a folder, and write it where that is wanted."""
    for file in (json_file, csv_file):
        if file is not None:
            must_be_writable(file)
    grades = list(grade_folder(directory, lesson))
    console = console_for()
    console.print(table_of(grades))
    passed = sum(each.passed for each in grades)
    console.print(f"{len(grades)} hand-ins, {passed} passed", highlight=False)
    if json_file is not None:
        write_file(json_file, [json.dumps(as_json(grades), indent=1), "\n"])
    if csv_file is not None:
        write_file(csv_file, [as_csv(grades)])


def table_of(grades: list[Grade]) -> Table:
    """Return grades as a table."""
    table = Table("file", "student", "lesson", "", "what is missing, or what it means")
    for each in grades:
        verdict = Text("passed", "green") if each.passed else Text("not yet", "red")
        cells = (each.file, each.student, each.lesson)
        table.add_row(*(Text(printable(cell)) for cell in cells), verdict, Text(printable(each.sentence)))
    return table
