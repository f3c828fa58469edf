from harness.lesson_tried import reached
from pef_lessons.lessons.integrity_and_freshness import LESSON

INTEGRITY, FRESHNESS = LESSON.solution.script[:4], LESSON.solution.script[4:]


def test_each_attack_is_a_milestone_of_its_own() -> None:
    assert reached(LESSON, *INTEGRITY) == [True, False]
    assert reached(LESSON, *FRESHNESS) == [False, True]


def test_a_write_to_a_page_that_is_not_out_is_no_attack() -> None:
    lines = ("guest 0: store 0 ...", "vmm: host write 0 ...", "guest 0: load 0 ...")
    assert reached(LESSON, *lines) == [False, False]


def test_without_a_load_nothing_is_seen() -> None:
    assert reached(LESSON, *INTEGRITY[:-1]) == [False, False]
    assert reached(LESSON, *FRESHNESS[:-1]) == [False, False]


def test_the_load_must_be_of_the_page_that_was_attacked() -> None:
    assert reached(LESSON, *INTEGRITY[:-1], "guest 0: load 1 ...") == [False, False]
