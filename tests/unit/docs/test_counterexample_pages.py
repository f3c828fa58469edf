import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
PAGES: dict[Path, Callable[[], str]] = runpy.run_path(str(DOCS / "make_counterexamples.py"))["PAGES"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_of_counterexamples_says_what_their_files_say(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == PAGES[page](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_has_a_row_and_a_diagram_of_every_file(page: Path) -> None:
    text, files = page.read_text(encoding="utf-8"), sorted(page.parent.glob("*.json"))
    assert files
    assert [file.name for file in files if f"| [{file.name}]({file.name}) |" not in text] == []
    assert text.count("```mermaid\n") == len(files)
