"""Without a mouse, at 200 %, on a projector, and for a screen reader."""

from typing import Any, Final, cast

import pytest
from axe_playwright_python.sync_playwright import Axe

from console.console_process import ConsoleProcess
from console.shown_page import Opener, ShownPage

PANES: Final = (
    "hypervisor-table",
    "ultravisor-table",
    "sequence",
    "moves",
    "map",
    "page-view",
    "verdicts",
    "cost",
    "banner",
)
SERIOUS: Final = frozenset({"serious", "critical"})
VIEWS: Final = {
    "start": (),
    "in flight": ("j", "j", "j"),
    "broken": ("e",),
    "help": ("?",),
    "open": ("o",),
}


def findings(page: ShownPage) -> list[str]:
    """Return axe's serious findings, each with the elements that it is about."""
    violations: list[dict[str, Any]] = Axe().run(page.page).response["violations"]
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']]}"
        for each in violations
        if each["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_has_no_serious_finding(
    console: ConsoleProcess, new_page: Opener, scheme: str, view: str
) -> None:
    page = new_page(console, color_scheme=scheme, bypass_csp=True)
    page.open(file="broken-the-tables-agree")
    for key in VIEWS[view]:
        before = page.node
        page.press(key)
        if key in "je":
            page.wait("node => document.body.dataset.node !== String(node)", before)
    assert findings(page) == []


def test_each_tab_stop_shows_its_focus_and_leads_on(page: ShownPage) -> None:
    page.open(file="broken-the-tables-agree")
    page.press_to("j", 1)
    stops: list[dict[str, Any]] = []
    for _ in range(60):
        page.press("Tab")
        stop = page.page.evaluate(
            """() => { const at = document.activeElement, style = getComputedStyle(at);
            return at === document.body ? null : {name: at.dataset.testid || at.id || at.dataset.key,
              pane: at.closest('header, section')?.className, width: parseFloat(style.outlineWidth),
              style: style.outlineStyle}; }"""
        )
        if stop is None:
            break
        stops.append(stop)
    assert [stop["name"] for stop in stops if stop["width"] < 2 or stop["style"] == "none"] == []
    panes = list(dict.fromkeys(stop["pane"].split()[-1] for stop in stops))
    assert panes == [
        "toolbar",
        "moves",
        "hypervisor",
        "sequence",
        "ultravisor",
        "map",
        "page-view",
        "verdicts",
    ]
    assert len(stops) < 25


def test_arrow_keys_go_through_a_group(page: ShownPage) -> None:
    page.open(file="broken-the-tables-agree")
    page.press_to("e", 12)
    page.by("hypervisor-table").locator("button[tabindex='0']").focus()
    page.press("ArrowDown", "ArrowDown")
    assert page.part("g") == "2"
    page.press("ArrowUp")
    assert page.part("g") == "1"
    assert page.page.evaluate("document.activeElement.dataset.key") == "gfn-1"


def test_a_code_explains_itself_on_focus_and_on_hover(page: ShownPage) -> None:
    page.open(file="pushed-valid-the-tables-agree")
    page.press_to("e", page.frame()["nodes"] - 1)
    rows = page.by("sequence").locator("li.answer button")
    rows.last.focus()
    page.by("explain").wait_for(state="visible")
    on_focus = page.text("explain")
    assert len(on_focus) > 20
    page.press("ArrowUp")
    rows.first.scroll_into_view_if_needed()
    rows.last.hover()
    page.wait("said => explain.textContent.replace(/\\s+/g, ' ').trim() === said", on_focus)


def test_enter_on_a_call_goes_there(page: ShownPage) -> None:
    page.open(file="broken-the-tables-agree")
    page.press_to("e", 12)
    page.by("sequence").locator("button[tabindex='0']").focus()
    page.press("Home", "Enter")
    page.wait_for_node(1)


def test_a_number_makes_a_move_and_two_digits_do_too(page: ShownPage) -> None:
    page.open()
    moves = [move for move in page.frame()["moves"] if not move["why_not"] and move["n"] < 10]
    page.press(str(moves[0]["n"]))
    page.wait_for_node(1)
    page.press_to("k", 0)
    other = next(move for move in page.frame()["moves"] if not move["why_not"] and move["n"] >= 10)
    page.press(*str(other["n"]))
    page.wait_for_node(2)
    assert page.frame()["path"][-1]["label"] == other["label"]


def test_help_opens_and_closes_by_key_and_gives_the_focus_back(page: ShownPage) -> None:
    page.open()
    page.by("step").focus()
    page.press("?")
    page.by("help-dialog").wait_for(state="visible")
    page.press("Escape")
    page.by("help-dialog").wait_for(state="hidden")
    assert page.page.evaluate("document.activeElement.dataset.testid") == "step"


def test_what_changes_is_announced(page: ShownPage) -> None:
    page.open()
    banner = page.by("banner")
    assert (banner.get_attribute("role"), banner.get_attribute("aria-live")) == ("status", "polite")
    assert page.by("error").get_attribute("role") == "alert"
    label = page.by("map").get_attribute("aria-label") or ""
    assert "3 GFNs" in label
    assert "Hypervisor:" in label


@pytest.mark.parametrize("size", [(1280, 800), (1024, 768), (640, 400), (512, 384)])
def test_nothing_is_cut_off(console: ConsoleProcess, new_page: Opener, size: tuple[int, int]) -> None:
    """Given a screen or a projector, also at 200 %, then nothing is wider, and each pane is there."""
    width, height = size
    page = new_page(console, viewport={"width": width, "height": height})
    page.open(file="broken-the-tables-agree")
    page.press_to("e", 12)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    for name in PANES:
        page.by(name).scroll_into_view_if_needed()
        box = page.by(name).bounding_box()
        assert box is not None
        assert box["width"] > 100
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width + 1


@pytest.mark.parametrize("size", [(1280, 800), (1024, 768)])
def test_all_panes_are_on_one_screen(
    console: ConsoleProcess, new_page: Opener, size: tuple[int, int]
) -> None:
    width, height = size
    page = new_page(console, viewport={"width": width, "height": height})
    page.open(file="broken-the-tables-agree")
    page.press_to("e", 12)
    for name in PANES:
        box = page.by(name).bounding_box()
        assert box is not None
        assert box["y"] < height


def test_red_stands_only_where_both_sides_are_quiescent_and_differ(page: ShownPage) -> None:
    page.open(file="broken-the-tables-agree")
    for node in range(1, 12):
        page.press_to("j", node)
        assert page.page.locator("main .differs").count() == 0
    page.press_to("j", 12)
    signs = page.page.locator("td .joint.differs").evaluate_all("all => all.map(sign => sign.textContent)")
    assert cast("list[str]", signs) == ["≠"] * 4


def test_light_and_dark_follow_the_switch(page: ShownPage) -> None:
    page.open()
    colour = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.page.evaluate(colour)
    page.by("theme").focus()
    page.press("Enter")
    assert page.page.evaluate(colour) != light
    page.press("Enter")
    assert page.page.evaluate(colour) == light
