"""Lesson 12: the figures are measured ones, and a formula explains them."""

import json
from pathlib import Path

import pytest

from harness.lesson_tried import tried
from pef_lessons.lessons.cost import FIGURES, LESSON, MEASURED, SIZES, numbers_in

PAGE = 64 << 10
IMAGE, WRITTEN = 35, (32 << 20) // PAGE
RIGHT = LESSON.solution.answers
ANSWER = Path(__file__).parents[4] / "docs" / "answer" / "results.json"


def test_the_formula_of_the_text_gives_what_was_measured() -> None:
    """`tracked` carries the image twice; `eager` carries every page, and twice what has contents."""
    for size in SIZES:
        pages = int(size.removesuffix("GiB")) << 14
        assert FIGURES["tracked-gfns"](size) == 2 * IMAGE
        assert FIGURES["eager-gfns"](size) == pages + WRITTEN + IMAGE + 1
        assert FIGURES["eager-mib"](size) == (WRITTEN + IMAGE) * PAGE / (1 << 20)


def test_another_measurement_of_100_gib_fits_the_same_formula() -> None:
    """That of docs/answer touched 1 GiB."""
    measured = json.loads(ANSWER.read_text())
    assert measured["costs/eager"]["gfns_carried"] == (100 << 14) + (1 << 14) + IMAGE + 1
    assert measured["costs/tracked"]["gfns_carried"] == FIGURES["tracked-gfns"]("100GiB")
    assert measured["costs/eager"]["messages"] == {
        kind: MEASURED["measured"]["100GiB"]["eager"][kind] for kind in ("ultracalls", "hypercalls")
    }


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("20 20 20", [20, 20, 20]),
        ("16,932, 164'388; 1_638_948", [16932, 164388, 1638948]),
        ("34.2 MiB, 34.2 MiB and 34.2 MiB", [34.2] * 3),
        ("none", []),
        ("1 " * 51, []),
    ],
)
def test_numbers_in_an_answer(text: str, numbers: list[float]) -> None:
    assert numbers_in(text) == numbers


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("tracked-gfns", "70 700 7000", "'tracked-gfns' for 10GiB is off by more than 10%"),
        ("eager-gfns", "16384 163840 1200000", "'eager-gfns' for 100GiB is off"),
        ("eager-mib", "1024 10240 102400", "'eager-mib' for 1GiB is off"),
        ("tracked-messages", "20 20", "takes three numbers"),
    ],
)
def test_a_figure_that_is_off_is_named_with_the_measurement(name: str, answer: str, said: str) -> None:
    verdict = tried(LESSON, answers={**RIGHT, name: answer})
    assert not verdict.passed
    assert said in verdict.sentence


def test_a_prediction_within_ten_per_cent_is_enough() -> None:
    rough = {**RIGHT, "eager-gfns": "16384 163840 1638400", "eager-mib": "33 33 33"}
    assert tried(LESSON, answers=rough).passed
