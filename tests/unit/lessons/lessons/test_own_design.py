"""Lesson 10: a quick search, in this process, and the whole check."""

import pytest

from harness.lesson_tried import tried
from pef_lessons.design_search import Explored
from pef_lessons.lessons import own_design
from pef_lessons.lessons.own_design import LESSON

RIGHT = LESSON.solution.answers


def test_what_the_search_says_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is that of the search, and gives its first sentence."""
    searched: list[dict[str, str]] = []

    def explore(words: dict[str, str]) -> Explored:
        searched.append(words)
        return found

    monkeypatch.setattr(own_design, "explore", explore)
    found = Explored((), 2645, True)
    assert tried(LESSON, answers=RIGHT).passed
    assert searched == [RIGHT]
    found = Explored(("the_tables_agree: GFN 0 is x to one side, y to the other",), 100, True)
    said = tried(LESSON, answers=RIGHT)
    assert (said.passed, "the_tables_agree" in said.sentence) == (False, True)
    found = Explored((), 20_000, False)
    assert tried(LESSON, answers=RIGHT).sentence.startswith("The search of your design did not end")


def test_a_hole_that_is_empty_or_has_another_word_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_design, "explore", None)
    assert not tried(LESSON, answers={**RIGHT, "AT_INIT_DONE": ""}).passed
    verdict = tried(LESSON, answers={**RIGHT, "WHEN_PLUGGED": "__import__('os').abort()"})
    assert verdict.sentence.startswith("The answer to 'WHEN_PLUGGED' is none of: mark after registering")


@pytest.mark.verify
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "broken"),
    [
        ({}, ""),
        ({"AT_INIT_DONE": "keep"}, "the_tables_agree"),
        ({"AT_INIT_ABORT": "trust the page"}, "the_guest_finds_what_it_wrote"),
        ({"WHEN_PLUGGED": "mark after registering"}, "the_tables_agree"),
    ],
)
def test_the_search_passes_the_solution_and_breaks_it_with_any_other_word(
    words: dict[str, str], broken: str
) -> None:
    verdict = tried(LESSON, answers={**RIGHT, **words})
    assert verdict.passed == (not broken)
    assert broken in verdict.sentence
