"""The pages of the lessons are those that the lessons give, and name no command that is not there."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from pef_lessons.all_lessons import LESSONS

DOCS = Path(__file__).parents[3] / "docs"
PAGES: dict[Path, Callable[[], str]] = runpy.run_path(str(DOCS / "make_lessons.py"))["PAGES"]
BY_HAND = DOCS / "lessons" / "for-lecturers.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_what_its_lesson_says(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == PAGES[page](), "run `make docs`"


def test_every_page_in_the_folder_is_written_or_known() -> None:
    assert {*(DOCS / "lessons").glob("*.md")} == {*PAGES, BY_HAND}


@pytest.mark.parametrize("page", [*PAGES, BY_HAND], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\[[^\]]*\]\(([^)\s#]+)[^)\s]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_plan_for_lecturers_names_each_lesson() -> None:
    text = BY_HAND.read_text(encoding="utf-8")
    assert [number for number in LESSONS if f"{number}" not in re.findall(r"\d+", text)] == []
