"""Two browsers on one session: one cursor for both, and a copy for the one that goes its own way."""

import pytest

from console.console_process import ConsoleProcess
from console.shown_page import Opener, ShownPage


@pytest.fixture
def pair(console: ConsoleProcess, new_page: Opener) -> tuple[ShownPage, ShownPage]:
    """Give two browsers; the second has opened the link of the first one's session."""
    first = new_page(console)
    first.open(file="broken-the-tables-agree")
    second = new_page(console)
    second.open(s=first.part("s"))
    for page in (first, second):
        page.wait_for_text("connection", "connected")
    return first, second


def test_a_step_of_one_is_seen_by_the_other(pair: tuple[ShownPage, ShownPage]) -> None:
    first, second = pair
    for node in (1, 2, 3):
        first.press_to("j", node)
        second.wait_for_node(node)
    second.press_to("k", 2)
    first.wait_for_node(2)
    assert first.states("ultravisor") == second.states("ultravisor")
    assert first.text("banner") == second.text("banner")


def test_both_may_step_by_turns(pair: tuple[ShownPage, ShownPage]) -> None:
    for node in range(1, 13):
        mine, other = pair if node % 2 else pair[::-1]
        mine.press_to("j", node)
        other.wait_for_node(node)
    assert all("BROKEN the_tables_agree" in page.text("banner") for page in pair)


def test_a_command_for_a_cursor_that_has_moved_changes_nothing(pair: tuple[ShownPage, ShownPage]) -> None:
    first, _ = pair
    first.press_to("j", 1)
    url = f"{first.console.origin}/api/v1/sessions/{first.part('s')}/forward"
    answer = first.context.request.post(url, data={"if_at": 0})
    assert answer.status == 409
    assert answer.json()["frame"]["node"] == 1
    assert "\n" not in answer.json()["detail"]
    assert first.frame()["node"] == 1


def test_a_copy_goes_its_own_way(pair: tuple[ShownPage, ShownPage]) -> None:
    first, second = pair
    first.press_to("j", 1)
    second.wait_for_node(1)
    shared = second.part("s")
    second.press("f")
    second.wait("shared => !location.hash.includes(shared)", shared)
    second.make("guest 0", "go on")
    first.press_to("j", 2)
    first.press_to("j", 3)
    assert second.node == 2


def test_each_selects_a_gfn_for_itself(pair: tuple[ShownPage, ShownPage]) -> None:
    first, second = pair
    first.press("g")
    assert first.part("g") == "1"
    first.press_to("j", 1)
    second.wait_for_node(1)
    assert second.part("g") is None


def test_a_session_that_is_ended_says_so_in_both(pair: tuple[ShownPage, ShownPage]) -> None:
    first, second = pair
    url = f"{first.console.origin}/api/v1/sessions/{first.part('s')}"
    assert first.context.request.delete(url).status == 204
    for page in (first, second):
        page.wait_for_text("connection", "ended")
        assert page.text("error")
