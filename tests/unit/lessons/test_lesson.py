from dataclasses import replace

from pef_lessons.all_lessons import LESSONS
from pef_lessons.lesson import MOST_MOVES, Progress, Question


def test_a_session_of_a_lesson_has_its_number_and_a_limit() -> None:
    session = LESSONS["3"].session()
    assert (session.lesson, session.limit) == ("3", MOST_MOVES)
    assert session.frame().lesson == "3"
    assert session.frame().vm.ultravisor == "SECURE"


def test_a_verdict_names_the_first_milestone_that_is_missing() -> None:
    lesson = LESSONS["9"]
    assert lesson.check(lesson.session()).sentence == lesson.milestones[0].missing


def test_questions_come_after_the_milestones() -> None:
    asks = replace(LESSONS["1"], questions=(Question("why", "Why?"),), milestones=())
    session = asks.session()
    assert asks.check(session).sentence == "The question 'why' is not answered yet: Why?"
    assert asks.check(session, {"why": " "}).passed is False
    assert asks.check(session, {"why": "because"}).passed
    assert asks.progress(session, {"why": "because"}) == (Progress("answered: why", True),)
