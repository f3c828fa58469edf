from harness.lesson_tried import history_after, reached
from pef_lessons.lessons.disagreement_heals import LESSON, disagreements

STORE, OUT = "guest 0: store 1 ...", "vmm: host read 1 ..."


def test_the_pairs_that_differ_in_passing_are_those_of_a_page_out_and_a_page_in() -> None:
    history = history_after(LESSON, *LESSON.solution.script)
    assert disagreements(history) == {("SECURE", "PAGEDOUT"), ("PAGED_OUT", "SECURE")}


def test_the_start_is_healed_and_shows_no_disagreement() -> None:
    assert reached(LESSON) == [False, False, True]


def test_states_that_say_that_a_call_is_under_way_do_not_count() -> None:
    assert reached(LESSON, "guest 0: share 1 ...") == [False, False, True]


def test_the_same_disagreement_twice_is_one() -> None:
    assert reached(LESSON, STORE, OUT, "vmm: host read 0 ...") == [True, False, True]


def test_it_must_heal() -> None:
    lines = (STORE, OUT, "guest 0: load 1", *["guest 0: go on"] * 4)
    assert reached(LESSON, *lines) == [True, True, False]
