from harness.lesson_tried import history_after, reached
from pef_lessons.lessons.two_views import LESSON

OUT = "vmm: host read 1 ..."


def test_a_page_that_nobody_stored_to_is_no_secret() -> None:
    assert reached(LESSON, OUT) == [False] * 4


def test_a_second_read_of_a_page_that_is_out_encrypts_nothing() -> None:
    assert reached(LESSON, "guest 0: store 1 ...", OUT, OUT) == [True, False, False, False]


def test_other_contents_are_no_second_ciphertext_of_the_same() -> None:
    lines = ("guest 0: store 1 ...", OUT, "guest 0: store 1 ...", OUT)
    assert reached(LESSON, *lines) == [True, False, False, False]


def test_host_memory_management_pages_out_as_well() -> None:
    lines = ("guest 0: store 1 ...", "memory: page out 1 ...", "guest 0: load 1 ...", OUT)
    assert reached(LESSON, *lines) == [True] * 4


def test_the_ciphertexts_are_bytes_that_stood_in_normal_memory() -> None:
    history = history_after(LESSON, *LESSON.solution.script)
    first, second = (each for each in history.actions("host read") if each.gfn == 1)
    found = [history.ciphertext(first), history.ciphertext(second)]
    assert None not in found
    assert len({*found}) == 2
