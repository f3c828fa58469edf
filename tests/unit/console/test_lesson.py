"""A lesson as a stage. The real lessons and their hand-in have tests of their own: this one is a stand-in."""

import json
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from pef_console import lesson as lessons
from pef_console.apart import Asked
from pef_console.lesson import LessonStage, open_lesson
from pef_console.machines import Machines
from pef_console.stage import Checked, HasLesson, Hint, Move, NotPossible, Part
from pef_explorer.plan import Part as PlanPart
from pef_explorer.session.files import plan_of_session
from pef_explorer.session.session import Session
from pef_lab.failures import WrongInput
from pef_protocol.designs import Design

Answers = Mapping[str, str]


class OneMove:
    """A lesson whose goal is one move, and an answer."""

    number = "7"
    title = "one move"
    goal = "Make a move."
    text = "Any move."
    hints = ("Any.", "Really any.")
    by_moves = True
    questions = (SimpleNamespace(name="why", text="Why?", choices=("so",)),)

    def session(self) -> Session:
        """Return a session of the lesson."""
        session = Session(plan_of_session(Design.TRACKED, (PlanPart.BROUGHT,)))
        session.lesson = self.number
        return session

    def check(self, session: Session, answers: Answers) -> Any:
        """Tell whether a move was made, and the answer is right."""
        done = session.at > 0 and answers.get("why") == "so"
        return SimpleNamespace(passed=done, sentence="It is done." if done else "Make a move.")

    def progress(self, session: Session, answers: Answers) -> list[Any]:
        """Return the one part."""
        return [SimpleNamespace(label="a move", done=session.at > 0)]


@pytest.fixture(autouse=True)
def one_lesson(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one lesson, and write a hand-in as what it was asked for."""

    def answer_file(lesson: OneMove, session: Session, answers: Answers, student: str) -> dict[str, Any]:
        moves = [move.action for move in session.path_moves()]
        return {"lesson": lesson.number, "moves": moves, "answers": answers, "student": student}

    modules = {"pef_lessons.hand_in": SimpleNamespace(answer_file=answer_file)}
    monkeypatch.setattr(lessons, "import_module", modules.__getitem__)
    monkeypatch.setattr(lessons, "known_lessons", lambda: {"7": OneMove()})


@pytest.fixture
async def stage() -> AsyncIterator[LessonStage]:
    machines = Machines()
    yield await open_lesson(machines, "7")
    machines.close()


async def test_a_lesson_that_is_none_is_wrong_input() -> None:
    with pytest.raises(WrongInput, match="there is no lesson '8'"):
        await open_lesson(Machines(), "8")


async def test_the_goal_is_checked_at_the_cursor_with_the_answers(stage: LessonStage) -> None:
    assert isinstance(stage, HasLesson)
    assert (stage.title, stage.frame()["lesson"]) == ("lesson 7: one move", "7")
    first = await stage.check({"why": "so"})
    assert (first.passed, first.sentence, first.progress) == (
        False,
        "Make a move.",
        [Part(label="a move", done=False)],
    )
    await stage.move(Move(actor="guest 0", action="UV_ESM"))
    assert not (await stage.check({})).passed
    assert (await stage.check({"why": "so"})).passed
    await stage.back()
    assert not (await stage.check({"why": "so"})).passed


async def test_a_lesson_without_moves_is_checked_in_a_process_of_its_own(
    stage: LessonStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Asked] = []

    async def checked_apart(given: Asked) -> Checked:
        asked.append(given)
        return Checked(passed=True, sentence="It is done.")

    monkeypatch.setattr(lessons, "checked_apart", checked_apart)
    monkeypatch.setattr(OneMove, "by_moves", False)
    assert (await stage.check({"why": "so"})).passed
    assert asked == [Asked(lesson="7", answers={"why": "so"})]


async def test_hints_are_given_one_by_one(stage: LessonStage) -> None:
    assert await stage.hint(2) == Hint(n=2, of=2, hint="Really any.")
    for n in (0, 3):
        with pytest.raises(NotPossible, match="this lesson has 2 hints"):
            await stage.hint(n)


async def test_what_is_handed_in_has_the_moves_and_the_answers(stage: LessonStage) -> None:
    await stage.move(Move(actor="guest 0", action="UV_ESM"))
    await stage.check({"why": "so"})
    exported = await stage.export("json")
    assert exported.name == "lesson-7.json"
    assert json.loads(exported.text) == {
        "lesson": "7",
        "moves": ["UV_ESM"],
        "answers": {"why": "so"},
        "student": "",
    }
    assert (await stage.export("mermaid")).text.startswith("sequenceDiagram")
