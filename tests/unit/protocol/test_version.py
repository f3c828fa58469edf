"""One version number, wherever a reader or an installer finds one."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from pef_protocol.version import VERSION

ROOT: Final = Path(__file__).parents[3]
PARTS: Final = {
    "pef-shared": "shared",
    "pef-ultravisor": "services/ultravisor",
    "pef-hypervisor": "services/hypervisor",
    "pef-lab": "lab",
}
SOURCE: Final = ROOT / "shared/src/pef_protocol/version.py"


@pytest.mark.parametrize("name", PARTS)
def test_a_distribution_has_no_number_of_its_own(name: str) -> None:
    part = ROOT / PARTS[name]
    described = tomllib.loads((part / "pyproject.toml").read_text(encoding="utf-8"))
    assert described["project"]["dynamic"] == ["version"]
    assert (part / described["tool"]["hatch"]["version"]["path"]).resolve() == SOURCE


@pytest.mark.parametrize("name", PARTS)
def test_what_is_installed_has_the_number(name: str) -> None:
    assert version(name) == VERSION


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_pages_say_the_number(page: str) -> None:
    """Given a page that says which version this is, each time it says so it is this one."""
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    said = re.findall(r"\b[Vv]ersion (\d+\.\d+\.\d+)", text)
    assert set(said) == {VERSION}
