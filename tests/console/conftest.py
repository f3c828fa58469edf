"""One Chromium and one console for the whole run; a browser context of its own for each test."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from console.chromium import ADVICE, arguments, chromium
from console.console_process import ConsoleProcess, console_process

if chromium() is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from playwright.sync_api import Browser, sync_playwright

    from console.pictures import small_picture
    from console.shown_page import Keep, Opener, ShownPage

SIZE: Final = {"width": 1280, "height": 800}


def pytest_report_header() -> str | None:
    """Say in one line why nothing is tested."""
    return f"console: not tested, {ADVICE}" if chromium() is None else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test of this folder as a long proof."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.verify)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Have one browser process."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=arguments())
        yield started
        started.close()


@pytest.fixture(scope="session")
def console() -> Iterator[ConsoleProcess]:
    """Have one console, without any token."""
    with console_process() as process:
        yield process


@pytest.fixture
def new_page(browser: "Browser") -> "Iterator[Opener]":
    """Give a function that opens a page in a context of its own; at the end none may have had an error."""
    opened: list[ShownPage] = []

    def make(console: ConsoleProcess, **options: Any) -> ShownPage:
        context = browser.new_context(**{"viewport": SIZE, "reduced_motion": "reduce", **options})
        opened.append(ShownPage(console, context))
        return opened[-1]

    yield make
    problems = [problem for page in opened for problem in page.problems]
    for page in opened:
        page.end_sessions()
        page.context.close()
    assert problems == []


@pytest.fixture
def page(console: ConsoleProcess, new_page: "Opener") -> "ShownPage":
    """Give a page that has not opened anything yet."""
    return new_page(console)


@pytest.fixture(scope="session")
def keep() -> "Keep":
    """Give a function that keeps a picture of a scene in `reports/console`; a small one in PEF_PICTURES."""
    reports = Path(os.environ.get("PEF_REPORTS", "reports")) / "console"

    def picture(page: ShownPage, name: str) -> None:
        reports.mkdir(parents=True, exist_ok=True)
        page.page.screenshot(path=reports / f"{name}.png")
        if folder := os.environ.get("PEF_PICTURES"):
            small_picture(page.page, Path(folder) / f"{name}.png")

    return picture
