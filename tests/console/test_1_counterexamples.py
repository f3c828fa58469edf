"""Each committed counterexample, opened by link and stepped to its end: the page shows what the file says."""

import json
from typing import Any, Final

import pytest

from console.console_process import ROOT
from console.shown_page import ShownPage

FOLDER: Final = ROOT / "docs" / "counterexamples"
NAMES: Final = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.json"))
"""Those of the designs, and those of the mutants in a folder of their own."""


def content(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_counterexample_ends_as_its_file_says(page: ShownPage, name: str) -> None:
    """Given a link to a file, when a person presses j to the end, then each step is the file's.

    Where the file says that its invariant is broken, banner, verdict and tables are the file's.
    """
    file = content(name)
    page.open(file=name)
    assert page.node == 0
    for node, step in enumerate(file["steps"], start=1):
        page.press_to("j", node)
        assert step["leads_to"] in page.text("banner")
        if node == file["violated_after"]:
            shows_the_breach(page, file)
    assert f"BROKEN {file['invariant']}" in page.text("banner")


def shows_the_breach(page: ShownPage, file: dict[str, Any]) -> None:
    """Check that what is shown is what the file says of the moment at which its invariant is broken."""
    banner = page.text("banner")
    assert f"BROKEN {file['invariant']}" in banner
    assert file["sentence"] in banner
    assert "BROKEN" in page.text(f"verdict-{file['invariant']}")
    expected = {int(gfn): sides for gfn, sides in file["tables"].items()}
    for at, side in enumerate(("hypervisor", "ultravisor")):
        assert page.states(side) == {gfn: sides[at] or "none" for gfn, sides in expected.items()}
