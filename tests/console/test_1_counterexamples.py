"""Each committed counterexample, opened by link and stepped to its end: the page shows what the file says."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from console.console_process import ROOT
from console.shown_page import ShownPage

FILES: Final = sorted((ROOT / "docs" / "counterexamples").glob("*.json"))


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_counterexample_ends_as_its_file_says(page: ShownPage, path: Path) -> None:
    """Given a link to a file, when a person presses j to the end, then banner and tables are the file's."""
    file = content(path)
    page.open(file=path.stem)
    assert page.node == 0
    for node, step in enumerate(file["steps"], start=1):
        page.press_to("j", node)
        assert step["leads_to"] in page.text("banner")
    banner = page.text("banner")
    assert f"BROKEN {file['invariant']}" in banner
    assert file["sentence"] in banner
    assert "BROKEN" in page.text(f"verdict-{file['invariant']}")
    expected = {int(gfn): sides for gfn, sides in file["tables"].items()}
    for at, side in enumerate(("hypervisor", "ultravisor")):
        assert page.states(side) == {gfn: sides[at] or "none" for gfn, sides in expected.items()}
