"""Each lesson: its solution reaches the goal, its start alone does not, and its hints are there."""

import re
import subprocess
import sys

import pytest

from pef_lessons.all_lessons import LESSONS
from pef_lessons.lesson import Lesson
from pef_lessons.script import make_moves

SECONDS = {"10"}
"""Lessons whose check takes more than two seconds."""
QUICK = [lesson for lesson in LESSONS.values() if lesson.number not in SECONDS]
BY_MOVES = [lesson for lesson in QUICK if lesson.by_moves]


WITHOUT_FAULTS = """
import sys
sys.modules["pef_mutants"] = None
from pef_lessons.all_lessons import LESSONS
lesson = LESSONS["11"]
print(len(LESSONS), lesson.check(lesson.session(), lesson.solution.answers).sentence)
"""


def name_of(lesson: Lesson) -> str:
    return lesson.name


def test_there_are_twelve_lessons_in_order() -> None:
    assert [*LESSONS] == [str(number) for number in range(1, 13)]
    assert [lesson.number for lesson in LESSONS.values()] == [*LESSONS]
    assert len({lesson.name for lesson in LESSONS.values()}) == len(LESSONS)


@pytest.mark.parametrize("lesson", QUICK, ids=name_of)
def test_the_solution_passes(lesson: Lesson) -> None:
    session = lesson.session()
    make_moves(session, lesson.solution.script)
    verdict = lesson.check(session, lesson.solution.answers)
    assert (verdict.passed, verdict.sentence) == (True, lesson.meaning)
    assert all(each.done for each in lesson.progress(session, lesson.solution.answers))


@pytest.mark.parametrize("lesson", QUICK, ids=name_of)
def test_the_start_alone_does_not_pass(lesson: Lesson) -> None:
    verdict = lesson.check(lesson.session())
    assert not verdict.passed
    assert not all(each.done for each in lesson.progress(lesson.session()))


@pytest.mark.parametrize("lesson", BY_MOVES, ids=name_of)
def test_answers_alone_do_not_pass(lesson: Lesson) -> None:
    assert not lesson.check(lesson.session(), lesson.solution.answers).passed


@pytest.mark.parametrize("lesson", [each for each in QUICK if each.questions], ids=name_of)
def test_moves_alone_do_not_pass_where_there_are_questions(lesson: Lesson) -> None:
    session = lesson.session()
    make_moves(session, lesson.solution.script)
    missing = lesson.check(session)
    assert not missing.passed
    assert "is not answered yet" in missing.sentence
    for question in lesson.questions:
        wrong = {**lesson.solution.answers, question.name: "something else"}
        assert not lesson.check(session, wrong).passed


@pytest.mark.parametrize("lesson", BY_MOVES, ids=name_of)
def test_a_check_and_its_progress_leave_the_session_as_it_is(lesson: Lesson) -> None:
    session = lesson.session()
    before = session.frame().as_json()
    lesson.check(session)
    lesson.progress(session)
    assert session.frame().as_json() == before


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=name_of)
def test_a_lesson_asks_first_and_gives_two_to_four_hints(lesson: Lesson) -> None:
    heads = re.findall(r"^## (.*)$", lesson.text, re.MULTILINE)
    assert heads == ["The question", "Predict", "Do", "What it means"]
    assert 2 <= len(lesson.hints) <= 4
    assert all(hint.endswith((".", "?")) for hint in lesson.hints)
    assert len({*lesson.hints}) == len(lesson.hints)


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=name_of)
def test_each_sentence_for_a_person_is_one_sentence_that_ends(lesson: Lesson) -> None:
    sentences = [lesson.goal, lesson.meaning, *(each.missing for each in lesson.milestones)]
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in sentences)
    assert all(len(sentence) <= 200 for sentence in sentences)


@pytest.mark.parametrize("lesson", BY_MOVES, ids=name_of)
def test_the_solution_needs_each_milestone(lesson: Lesson) -> None:
    """Without its last line a solution is not whole, but where the last line only shows the outcome."""
    *without_last, _ = lesson.solution.script
    session = lesson.session()
    make_moves(session, without_last)
    shows_only = {"7"}
    assert lesson.check(session, lesson.solution.answers).passed == (lesson.number in shows_only)


def test_an_image_which_has_no_faults_has_the_lessons() -> None:
    """Where `pef_mutants` can't be imported, all lessons are there, and lesson 11 says what is missing."""
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_FAULTS], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.startswith("12 The faults are not installed here: no image contains them.")
