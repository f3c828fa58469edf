import pytest

from pef_lessons.all_lessons import LESSONS
from pef_lessons.lesson import Lesson
from pef_lessons.pages import index, page_name, page_of


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=lambda lesson: lesson.name)
def test_a_page_has_goal_text_questions_and_hints_but_not_the_solution(lesson: Lesson) -> None:
    page = page_of(lesson)
    assert page.startswith(f"# Lesson {lesson.number}: {lesson.title}\n\n**Goal.** {lesson.goal}\n")
    assert lesson.text.strip() in page
    assert all(hint in page for hint in lesson.hints)
    assert all(f"`{question.name}`: {question.text}" in page for question in lesson.questions)
    assert lesson.meaning not in page
    assert page.count("<details>") == page.count("</details>") == len(lesson.hints)


def test_the_index_leads_to_every_page() -> None:
    assert all(f"]({page_name(lesson)})" in index() for lesson in LESSONS.values())
