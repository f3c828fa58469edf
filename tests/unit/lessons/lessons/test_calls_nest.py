import pytest

from harness.lesson_tried import history_after, tried
from pef_lessons.lessons.calls_nest import LESSON, asked, deepest, inside_the_first

WHOLE = LESSON.solution.script


def test_what_is_compared_is_what_the_session_shows() -> None:
    history = history_after(LESSON, *WHOLE)
    assert asked(history) == [
        "H_SVM_INIT_START",
        "UV_REGISTER_MEM_SLOT",
        "H_SVM_PAGE_IN",
        "UV_PAGE_IN",
        "H_SVM_PAGE_IN",
        "UV_PAGE_IN",
        "H_SVM_INIT_DONE",
    ]
    assert (deepest(history), inside_the_first(history)) == (3, "UV_REGISTER_MEM_SLOT")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("first", "H_SVM_PAGE_IN"),
        ("inside", "none"),
        ("deepest", "2"),
        ("deepest", "three"),
        ("asked-for", "3"),
    ],
)
def test_a_wrong_prediction_does_not_pass(name: str, answer: str) -> None:
    verdict = tried(LESSON, *WHOLE, answers={**LESSON.solution.answers, name: answer})
    assert not verdict.passed
    assert f"something else for {name!r}" in verdict.sentence


def test_an_answer_that_is_no_choice_is_refused_with_the_choices() -> None:
    verdict = tried(LESSON, *WHOLE, answers={**LESSON.solution.answers, "first": "UV_ESM"})
    assert verdict.sentence.startswith("The answer to 'first' is none of: H_SVM_INIT_START, ")


def test_uv_esm_must_end() -> None:
    verdict = tried(LESSON, "guest 0: UV_ESM", "guest 0: go on", answers=LESSON.solution.answers)
    assert (verdict.passed, verdict.sentence) == (False, LESSON.milestones[0].missing)


def test_a_uv_esm_that_fails_is_not_the_goal() -> None:
    lines = ("guest 0: UV_ESM with a bad image ...",)
    assert not tried(LESSON, *lines, answers=LESSON.solution.answers).passed
