"""A lesson as a stage: its session, the check of its goal, and its hints."""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pef_console.apart import Asked, checked, checked_apart
from pef_console.known_lessons import PACKAGE, Lesson, known_lessons
from pef_console.machines import Machines
from pef_console.model import JSON, ModelStage
from pef_console.stage import Checked, Exported, ExportKind, Hint, NotPossible
from pef_lab.failures import WrongInput


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
        if not self._lesson.by_moves:
            async with self._machines.apart:
                return await checked_apart(Asked(lesson=self._lesson.number, answers=self._answers))
        return await self._machines.run(lambda: checked(self._lesson, self._session, self._answers))

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
