import pytest

from harness.lesson_tried import history_after, reached, tried
from pef_lessons.lessons.two_states import LESSON, first_difference
from pef_protocol.designs import Design

WHOLE = LESSON.solution.script


def test_the_same_moves_on_other_designs() -> None:
    history = history_after(LESSON, *WHOLE)
    assert first_difference(history, Design.TRACKED) == (19, "asks UV_PAGE_OUT")
    assert first_difference(history, Design.PUSHED_FIXED) == (19, "asks UV_PAGE_OUT")
    assert first_difference(history, Design.PUSHED) == (0, "")


@pytest.mark.parametrize(
    ("name", "answer"), [("tracked", "18"), ("tracked", "none"), ("pushed-fixed", "asks UV_PAGE_IN")]
)
def test_a_wrong_comparison_does_not_pass(name: str, answer: str) -> None:
    assert not tried(LESSON, *WHOLE, answers={**LESSON.solution.answers, name: answer}).passed


def test_a_page_that_goes_out_while_uv_esm_succeeds_breaks_nothing() -> None:
    lines = [line.replace(" with a bad image", "") for line in WHOLE]
    assert reached(LESSON, *lines) == [False, True]


def test_a_page_without_contents_has_nothing_to_lose() -> None:
    empty = ("guest 0: UV_ESM with a bad image ...",)
    assert reached(LESSON, *empty) == [False, True]


def test_it_must_end() -> None:
    *before, _ = WHOLE
    assert reached(LESSON, *before) == [False, False]
