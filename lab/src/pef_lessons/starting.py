"""What `pef lesson start` prints, writes and starts."""

import json
import sys
from pathlib import Path
from typing import Final

import typer

from pef_explorer.session.session import Session
from pef_explorer.stepping.terminal import step_through
from pef_lab.failures import WrongInput
from pef_lab.output import write_file
from pef_lessons.design_search import TEMPLATE, install
from pef_lessons.hand_in import answer_file, lesson_of, read_hand_in
from pef_lessons.lesson import Lesson
from pef_lessons.reporting import show_verdict

SECURE_MEMORY: Final = 16 << 30
"""Bytes of secure memory of the pair, as of `pef up`."""
DESIGN: Final = "10"
CONFORMANCE: Final = "11"
FOLDER: Final = "lesson-10"


def start_lesson(number: str, student: str, file: Path | None) -> None:
    """Print a lesson, write an empty hand-in, and begin what the lesson needs."""
    lesson = lesson_of(number)
    if lesson.number == CONFORMANCE and not student.strip():
        raise WrongInput("lesson 11 chooses the fault by your name: give it by --student NAME")
    where = file or Path(f"lesson-{lesson.number}.json")
    session = _session(lesson, where)
    typer.echo(f"Lesson {lesson.number}: {lesson.title}\n\nGoal: {lesson.goal}\n{lesson.text.rstrip()}\n")
    _write_hand_in(lesson, student, where)
    if lesson.by_moves:
        _step(lesson, session, where)
    if lesson.number == DESIGN:
        _write_template(Path(FOLDER))
    if lesson.number == CONFORMANCE:
        _serve(student)


def _session(lesson: Lesson, where: Path) -> Session:
    """Return a session at the start of a lesson, or where the hand-in that is there ends."""
    if not where.exists():
        return lesson.session()
    try:
        read = read_hand_in(where, lesson.number)
        return read.session() if read.moves else lesson.session()
    except WrongInput as reason:
        raise WrongInput(f"{where}: {reason}") from None


def _step(lesson: Lesson, session: Session, where: Path) -> None:
    """Let a person make the moves of a lesson in the terminal, and write them into the hand-in.

    A fork on another design is for comparing: what counts is the lesson's own session.
    """
    step_through(session)
    read = read_hand_in(where, lesson.number)
    content = answer_file(lesson, session, read.answers, read.student)
    write_file(where, [json.dumps(content, indent=1), "\n"])
    verdict = lesson.check(session, read.answers)
    show_verdict(verdict.passed, verdict.sentence)
    typer.echo(f"Your moves are in {where}.")


def _write_hand_in(lesson: Lesson, student: str, where: Path) -> None:
    """Write an empty hand-in, unless there is a file already; say what comes into it."""
    if where.exists():
        typer.echo(f"{where} is there already: it goes on from there.")
    else:
        write_file(where, [json.dumps(answer_file(lesson, student=student), indent=1), "\n"])
        typer.echo(f"Your hand-in is {where}.")
    if lesson.questions:
        typer.echo("Write your answers into it:")
        for each in lesson.questions:
            words = f" ({' | '.join(each.choices)})" if each.choices else ""
            typer.echo(f"  {each.name}: {each.text}{words}")
    typer.echo(f"Check it by: pef lesson check {where}")


def _write_template(folder: Path) -> None:
    """Write the template of lesson 10 with its holes, unless there is one already."""
    folder.mkdir(exist_ok=True)
    if (folder / TEMPLATE.name).exists():
        typer.echo(f"{folder / TEMPLATE.name} is there already and stays as it is.")
        return
    install(TEMPLATE.read_text(encoding="utf-8"), folder)
    typer.echo(f"The design with three holes is {folder / TEMPLATE.name}.")


def _serve(student: str) -> None:
    """Keep a pair up with the fault of a student, which is not named, until Ctrl-C."""
    from pef_lab.keeping import keep_up
    from pef_lab.pair import PairPlan
    from pef_lab.signals import run_until_ended
    from pef_lab.tables import console_for
    from pef_lessons.secret_fault import fault_of

    sys.stdout.flush()
    plan = PairPlan(SECURE_MEMORY, mutants=(fault_of(student).id,))
    run_until_ended(keep_up(plan, console_for(), for_tests=True))
