"""The verdict on each hand-in of a folder, with bounded work for each, and the table that shows them.

A hand-in that can't be read, or whose moves are not possible, fails with one line. Nothing in it ends the
grading of the others.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pef_lab.failures import WrongInput
from pef_lessons.hand_in import read_hand_in

MOST_FILES: Final = 2000
"""Hand-ins of one folder."""
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a cell of a spreadsheet must not begin with, or it is taken for a formula."""


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one hand-in."""

    file: str
    student: str
    lesson: str
    passed: bool
    sentence: str


def grade_file(path: Path, lesson: str | None = None) -> Grade:
    """Return the verdict on one hand-in: its moves are made again, and the lesson is checked."""
    student, number = "", lesson or ""
    try:
        read = read_hand_in(path, lesson)
        student, number = read.student, read.lesson.number
        answers = dict(read.answers)
        if any(question.name == "student" for question in read.lesson.questions) and student:
            answers["student"] = student
        verdict = read.lesson.check(read.session(), answers)
    except WrongInput as reason:
        return Grade(path.name, student, number, False, str(reason))
    except Exception as fault:  # noqa: BLE001 - no hand-in may end the grading of the others
        sentence = f"the check failed by itself: {type(fault).__name__}: {fault}"
        return Grade(path.name, student, number, False, sentence[:200])
    return Grade(path.name, student, number, verdict.passed, verdict.sentence)


def hand_ins_of(folder: Path) -> list[Path]:
    """Return the hand-ins of a folder by name; raise WrongInput where there are none, or too many."""
    if not folder.is_dir():
        raise WrongInput(f"{folder}: no folder")
    found = sorted(folder.glob("*.json"))
    if not found:
        raise WrongInput(f"{folder}: no hand-in (*.json) is there")
    if len(found) > MOST_FILES:
        raise WrongInput(f"{folder}: {len(found):,} files, where {MOST_FILES:,} is the most")
    return found


def grade_folder(folder: Path, lesson: str | None = None) -> Iterator[Grade]:
    """Yield the verdict on each hand-in of a folder, by name."""
    yield from (grade_file(path, lesson) for path in hand_ins_of(folder))


def as_json(grades: Iterable[Grade]) -> list[dict[str, Any]]:
    """Return grades as JSON values."""
    return [asdict(each) for each in grades]


def as_csv(grades: Iterable[Grade]) -> str:
    """Return grades as CSV; a cell that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "student", "lesson", "passed", "sentence"])
    for each in grades:
        cells = [each.file, each.student, each.lesson, "yes" if each.passed else "no", each.sentence]
        rows.writerow([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in cells])
    return text.getvalue()
