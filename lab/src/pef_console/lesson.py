"""A lesson as a stage: its session, the check of its goal, and its hints."""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Protocol

from pef_console.machines import Machines
from pef_console.model import JSON, ModelStage
from pef_console.stage import Checked, Exported, ExportKind, Hint, NotPossible, Part
from pef_explorer.session.session import Session
from pef_lab.failures import WrongInput

PACKAGE: Final = "pef_lessons"


class Lesson(Protocol):
    """A lesson, as far as the console knows it: see `pef_lessons.lesson`."""

    number: str
    title: str
    goal: str
    text: str
    hints: Sequence[str]
    questions: Sequence[Any]

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


class LessonStage(ModelStage):
    """The session of a lesson: a model stage with a goal."""

    _lesson: Lesson
    _answers: Mapping[str, str]

    def begin(self, lesson: Lesson) -> None:
        """Take the lesson; no question is answered yet."""
        self._lesson, self._answers = lesson, {}

    async def check(self, answers: Mapping[str, str]) -> Checked:
        """Tell whether the goal is reached on the path to the cursor, with these answers."""
        self._answers = dict(answers)

        def judged() -> Checked:
            verdict = self._lesson.check(self._session, self._answers)
            parts = self._lesson.progress(self._session, self._answers)
            progress = [Part(label=each.label, done=each.done) for each in parts]
            return Checked(passed=verdict.passed, sentence=verdict.sentence, progress=progress)

        return await self._machines.run(judged)

    async def hint(self, n: int) -> Hint:
        """Return hint number `n`, from 1."""
        hints = self._lesson.hints
        if not 1 <= n <= len(hints):
            raise NotPossible(f"this lesson has {len(hints)} hints")
        return Hint(n=n, of=len(hints), hint=hints[n - 1])

    async def export(self, kind: ExportKind) -> Exported:
        """Return as JSON what is handed in: the moves to the cursor, and the answers checked last."""
        if kind != "json":
            return await super().export(kind)
        content = await self._machines.run(self._handed_in)
        return Exported(json.dumps(content, indent=1) + "\n", JSON, f"lesson-{self._lesson.number}.json")

    def _handed_in(self) -> dict[str, Any]:
        answer_file = import_module(f"{PACKAGE}.hand_in").answer_file
        found: dict[str, Any] = answer_file(self._lesson, self._session, self._answers, "")
        return found


async def open_lesson(machines: Machines, number: str) -> LessonStage:
    """Open a lesson; raise WrongInput where there is none of that number."""
    lesson = known_lessons().get(number)
    if lesson is None:
        raise WrongInput(f"there is no lesson {number!r}")
    stage = await LessonStage.opened(machines, lesson.session, f"lesson {number}: {lesson.title}")
    stage.begin(lesson)
    return stage
