from harness.lesson_tried import reached
from pef_lessons.lessons.sharing import LESSON

STORE, SHARE, READ = "guest 0: store 1 ...", "guest 0: share 1 ...", "vmm: host read 1 ..."


def test_zero_in_a_page_that_held_nothing_shows_nothing() -> None:
    assert reached(LESSON, SHARE, READ) == [False, False, False]


def test_a_read_after_somebody_wrote_is_no_read_of_the_zeroes() -> None:
    assert reached(LESSON, STORE, SHARE, STORE, READ) == [False, True, False]


def test_what_the_host_wrote_itself_is_no_message_of_the_guest() -> None:
    assert reached(LESSON, STORE, SHARE, READ, "vmm: host write 1 ...", READ) == [True, False, False]


def test_a_page_in_which_nobody_wrote_while_it_was_shared_shows_no_second_zero() -> None:
    lines = (STORE, SHARE, READ, "guest 0: unshare 1 ...", "guest 0: load 1 ...")
    assert reached(LESSON, *lines) == [True, False, False]


def test_a_store_after_the_unshare_covers_the_zero() -> None:
    lines = (STORE, SHARE, READ, STORE, READ, "guest 0: unshare 1 ...", STORE, "guest 0: load 1 ...")
    assert reached(LESSON, *lines) == [True, True, False]


def test_unsharing_all_pages_counts_as_well() -> None:
    lines = (STORE, SHARE, READ, STORE, READ, "guest 0: unshare all ...", "guest 0: load 1 ...")
    assert reached(LESSON, *lines) == [True, True, True]
