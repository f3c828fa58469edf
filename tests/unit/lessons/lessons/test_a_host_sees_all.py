import pytest

from harness.lesson_tried import reached
from pef_explorer.session.errors import NotPossible
from pef_lessons.lessons.a_host_sees_all import LESSON
from pef_lessons.script import make_moves


def test_a_read_of_what_the_host_itself_wrote_shows_nothing() -> None:
    lines = ("vmm: host write 1 ...", "vmm: host read 1 ...")
    assert reached(LESSON, *lines) == [False, False]


def test_a_read_of_another_page_shows_nothing() -> None:
    assert reached(LESSON, "guest 0: store 1 ...", "vmm: host read 0 ...") == [False, False]


def test_a_load_of_what_the_guest_itself_stored_shows_nothing() -> None:
    lines = ("vmm: host write 0 ...", "guest 0: store 0 ...", "guest 0: load 0 ...")
    assert reached(LESSON, *lines) == [False, False]


def test_each_half_is_a_milestone_of_its_own() -> None:
    assert reached(LESSON, "guest 0: store 0 ...", "vmm: host read 0 ...") == [True, False]
    assert reached(LESSON, "vmm: host write 1 ...", "guest 0: load 1 ...") == [False, True]


@pytest.mark.parametrize("action", ["UV_ESM", "UV_ESM with a bad image"])
def test_the_vm_stays_a_normal_one(action: str) -> None:
    with pytest.raises(NotPossible, match="stays a normal VM"):
        make_moves(LESSON.session(), [f"guest 0: {action}"])
