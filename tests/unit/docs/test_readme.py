"""The README quotes the tour: its blocks are found, and their comparison sees what changes and only that.

tests/scenarios/test_demo.py runs the tour and compares.
"""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[3]
MAKER: Final[dict[str, Any]] = runpy.run_path(str(ROOT / "docs" / "make_readme.py"))
lasting: Final[Callable[[str], list[list[str]]]] = MAKER["lasting"]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MAKER["NAMES"])
def test_the_readme_has_every_block(name: str) -> None:
    assert lasting(MAKER["quoted"](README, name))


def test_a_page_without_the_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="no block 'one-page'"):
        MAKER["quoted"]("nothing", "one-page")


def test_ciphertext_and_times_do_not_count() -> None:
    page = MAKER["quoted"](README, "one-page")
    panels = [line.split("│") for line in page.splitlines() if line.count("│") == 4 and "│ =" not in line]
    host_bytes = panels[-1][3].strip()
    assert lasting(page.replace(host_bytes, "x" * len(host_bytes))) == lasting(page)
    table = MAKER["quoted"](README, "designs")
    time = next(line for line in table.splitlines() if "UV_ESM" in line)
    assert lasting(table.replace(time, "│ UV_ESM │ 1 s │ 2 s │ 3 s │ 4 s │ 5 s │ 6 s │")) == lasting(table)


@pytest.mark.parametrize(
    ("block", "was", "is_now"),
    [
        ("one-page", "= ciphertext or other opaque bytes", "= the guest's private text"),
        ("one-page", "GFN 0x59", "GFN 0x60"),
        ("one-page", "gen 1 page 0000000089", "gen 1 page 0000000090"),
        ("designs", "✘ corrupt", "✔ ok"),
        ("designs", "16,932", "16,933"),
    ],
)
def test_all_else_counts(block: str, was: str, is_now: str) -> None:
    shown = MAKER["quoted"](README, block)
    assert was in shown
    assert lasting(shown.replace(was, is_now, 1)) != lasting(shown)
