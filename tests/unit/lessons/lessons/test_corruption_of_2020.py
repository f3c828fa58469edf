from harness.lesson_tried import history_after, reached
from pef_lessons.lessons.corruption_of_2020 import LESSON

STORE, ESM, REBOOT = LESSON.solution.script[:3]


def test_without_contents_from_before_nothing_comes_back() -> None:
    assert reached(LESSON, ESM, REBOOT) == [True, False, True]


def test_tables_that_disagree_are_not_the_goal_yet() -> None:
    assert reached(LESSON, STORE, ESM) == [True, False, True]
    assert history_after(LESSON, STORE, ESM).broken("the_tables_agree")


def test_a_reset_by_the_vmm_brings_them_back_as_well() -> None:
    assert reached(LESSON, STORE, ESM, "vmm: reset ...") == [True, True, True]


def test_a_vm_that_was_never_secure_loses_nothing() -> None:
    assert reached(LESSON, STORE, REBOOT, "guest 0: load 1 ...")[:2] == [False, False]


def test_a_call_that_is_open_must_end() -> None:
    assert reached(LESSON, STORE, ESM, REBOOT, "guest 0: UV_ESM") == [True, True, False]
