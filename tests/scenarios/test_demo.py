"""The tour: everything comes out as it should, and as README.md quotes it.

How long it takes is for the benchmarks.
"""

import runpy
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from scenarios.pef_command import pef

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

CHAPTERS = (
    *("Two visors, two processes", "A normal VM", "UV_ESM: the VM becomes secure", "One page, two views"),
    *("Out and in", "Sharing a page", "Memory hot-plug", "Reboot", "And again"),
    "Five designs, one question, one repair",
)
ROOT: Final = Path(__file__).parents[2]
MAKER: Final[dict[str, Any]] = runpy.run_path(str(ROOT / "docs" / "make_readme.py"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """One run of the tour."""
    return pef("demo", runtime=tmp_path_factory.mktemp("demo"))


@pytest.mark.verify
def test_the_demo_ends_well(ran: subprocess.CompletedProcess[str]) -> None:
    """Given no pair that runs.

    When `pef demo` is run,
    then its chapters come in order, and all comes out as it should.
    """
    assert ran.returncode == 0, ran.stdout + ran.stderr
    places = [ran.stdout.index(f". {chapter}") for chapter in CHAPTERS]
    assert places == sorted(places)
    reported = ran.stdout[: places[-1]]
    assert reported.count("✔") > 40
    assert "✘" not in reported
    assert "in the host's eyes" in reported
    assert "All came out as it should" in ran.stdout


@pytest.mark.verify
@pytest.mark.parametrize("name", MAKER["NAMES"])
def test_the_readme_quotes_what_the_demo_prints(ran: subprocess.CompletedProcess[str], name: str) -> None:
    """Given a run of the tour.

    When a block of README.md that quotes it is compared,
    then both say the same.
    """
    shown = MAKER["quoted"]((ROOT / "README.md").read_text(encoding="utf-8"), name)
    lasting = MAKER["lasting"]
    assert lasting(shown) == lasting(MAKER["blocks"](ran.stdout)[name]), "run `make docs-readme`"


@pytest.mark.verify
def test_one_section_is_shown_and_the_rest_is_not(tmp_path: Path) -> None:
    """Given no pair that runs, and nobody who presses Enter.

    When `pef demo --section 4 --pause` is run,
    then its fourth chapter is shown, and nothing else.
    """
    ran = pef("demo", "--section", "4", "--pause", runtime=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [chapter for chapter in CHAPTERS if f". {chapter}" in ran.stdout] == [CHAPTERS[3]]
    assert "✔ the same page, paged out twice" in ran.stdout
    assert ran.stdout.count("Enter goes on.") == 1
    assert ran.stdout.endswith("All came out as it should in section 4.\n")


def test_a_pair_that_is_half_named_is_one_clear_line(tmp_path: Path) -> None:
    """Given a running pair of which only one URL is named.

    When `pef demo` is run,
    then it ends with status 2 and one line that names what is missing.
    """
    ran = pef("demo", "--ultravisor-url", "http://127.0.0.1:9", runtime=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(
        "pef: a running pair is named, but not all that it takes: set PEF_HYPERVISOR_URL"
    )
    assert ran.stderr.count("\n") == 1
