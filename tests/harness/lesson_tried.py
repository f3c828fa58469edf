"""A lesson that is tried by lines of a script, from its start on."""

from collections.abc import Mapping

from pef_lessons.history import History, history_of
from pef_lessons.lesson import Lesson, Verdict
from pef_lessons.script import make_moves


def tried(lesson: Lesson, *lines: str, answers: Mapping[str, str] | None = None) -> Verdict:
    """Return the verdict on a session in which these lines were made."""
    session = lesson.session()
    make_moves(session, lines)
    return lesson.check(session, answers)


def history_after(lesson: Lesson, *lines: str) -> History:
    """Return the history of a session in which these lines were made."""
    session = lesson.session()
    make_moves(session, lines)
    return history_of(session)


def reached(lesson: Lesson, *lines: str) -> list[bool]:
    """Return which milestones these lines reach."""
    history = history_after(lesson, *lines)
    return [milestone.reached(history) for milestone in lesson.milestones]
