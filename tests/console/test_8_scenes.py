"""The scenes for which the console was made, by keyboard; a picture of each is kept."""

from pathlib import Path

from console.console_process import ConsoleProcess, made_in_a_clean_clone
from console.shown_page import Keep, Opener, ShownPage

FILE = "broken-the-guest-finds-what-it-wrote"


def test_make_console_in_a_clean_clone_starts_with_a_small_vm(
    new_page: Opener, keep: Keep, tmp_path: Path
) -> None:
    """Given a clean clone, when `make console` is run and its URL opened, then a VM goes through UV_ESM."""
    with made_in_a_clean_clone(tmp_path / "clone") as console:
        page = new_page(console)
        page.open()
        assert page.text("stage") == "model"
        page.make("guest 0", "UV_ESM")
        page.end_calls()
        assert page.frame()["vm"]["ultravisor"] == "SECURE"
        keep(page, "start")


def test_the_corruption_of_2020_is_opened_by_link_and_stepped_to_its_end(page: ShownPage, keep: Keep) -> None:
    page.open(file=FILE)
    steps = page.frame()["nodes"] - 1
    for node in range(1, steps + 1):
        page.press_to("j", node)
    assert "BROKEN the_guest_finds_what_it_wrote: GFN 1" in page.text("banner")
    keep(page, "corruption")


def test_lesson_7_is_solved_by_keyboard(page: ShownPage, keep: Keep) -> None:
    """Given lesson 7, when the guest stores, becomes secure and reboots, then it finds old bytes: passed."""
    page.open(lesson=7)
    page.wait_for_text("lesson", "Until 2020 UV_ESM asked")
    assert "What it means" not in page.text("lesson")
    page.check()
    assert "not yet" in page.text("lesson")
    for action, gfn in (("store", 1), ("UV_ESM", None), ("reboot", None), ("load", 1)):
        page.make("guest 0", action, gfn)
        page.end_calls()
    page.check()
    assert "✓ passed" in page.text("lesson")
    assert "What it means" in page.text("lesson")
    assert "BROKEN the_guest_finds_what_it_wrote" in page.text("banner")
    keep(page, "lesson-7")


def test_the_same_moves_on_tracked_do_no_harm(page: ShownPage, keep: Keep) -> None:
    """Given the corruption, when its moves are made on tracked, then nothing is broken where they end."""
    page.open(file=FILE)
    page.press_to("e", page.frame()["nodes"] - 1)
    first = page.part("s")
    page.by("design").focus()
    page.page.keyboard.type("tracked")
    assert page.by("design").input_value() == "tracked"
    page.by("fork").focus()
    page.press("f")
    page.wait("first => !location.hash.includes(first)", first)
    frame = page.frame()
    assert frame["design"] == "tracked"
    assert frame["node"] > 5
    assert [verdict for verdict in frame["verdicts"] if not verdict["holds"]] == []
    assert "BROKEN" not in page.text("banner")
    keep(page, "same-moves-on-tracked")


def test_in_flight_is_amber_and_on_a_dark_projector(
    new_page: Opener, console: ConsoleProcess, keep: Keep
) -> None:
    page = new_page(console, color_scheme="dark", viewport={"width": 1024, "height": 768})
    page.open(file="broken-the-tables-agree")
    for node in range(1, 9):
        page.press_to("j", node)
    assert "in flight" in page.text("banner")
    keep(page, "in-flight")


def test_a_code_says_which_check_refused(page: ShownPage, keep: Keep) -> None:
    page.open(file="pushed-always-an-error-changes-neither-side")
    page.press_to("e", page.frame()["nodes"] - 1)
    refused = page.by("sequence").locator("button:has(.refused)").first
    refused.focus()
    page.by("explain").wait_for(state="visible")
    assert page.text("explain").startswith(("H_", "U_"))
    keep(page, "why")
