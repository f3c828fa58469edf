"""The lessons that are installed: the package that has them is imported only where they are asked for."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Protocol

from pef_explorer.session.session import Session

PACKAGE: Final = "pef_lessons"


class Lesson(Protocol):
    """A lesson, as far as the console knows it: see `pef_lessons.lesson`."""

    number: str
    title: str
    goal: str
    text: str
    hints: Sequence[str]
    questions: Sequence[Any]
    by_moves: bool

    def session(self) -> Session:
        """Return a session at the start of the lesson."""

    def check(self, session: Session, answers: Mapping[str, str]) -> Any:
        """Return whether the goal is reached, with one sentence; nothing is changed."""

    def progress(self, session: Session, answers: Mapping[str, str]) -> Sequence[Any]:
        """Return each part of the goal, and whether it is done."""


def known_lessons() -> Mapping[str, Lesson]:
    """Return all lessons by number; none where they are not installed."""
    if find_spec(PACKAGE) is None:
        return {}
    found: Mapping[str, Lesson] = import_module(f"{PACKAGE}.all_lessons").LESSONS
    return found


def listed_lessons() -> list[dict[str, Any]]:
    """Return all lessons as the page lists them."""
    return [
        {
            "number": each.number,
            "title": each.title,
            "goal": each.goal,
            "text": each.text,
            "questions": [
                {"name": asked.name, "text": asked.text, "choices": list(asked.choices)}
                for asked in each.questions
            ],
            "hints": len(each.hints),
        }
        for each in known_lessons().values()
    ]
