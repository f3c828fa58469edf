"""Each verdict on the question of 2020 is a row of docs/answer/results.json, as it was measured."""

import json
import re
import runpy
from pathlib import Path
from typing import Any, Final

import pytest

from pef_explorer.half_repairs import ASKS, MARKS
from pef_explorer.invariants import EVERY_CALL_ENDS, INVARIANTS
from pef_explorer.knobs import DESIGNS as KNOB_DESIGNS
from pef_protocol.designs import SHOWN

DOCS: Final = Path(__file__).parents[3] / "docs"
MADE: Final[dict[str, Any]] = runpy.run_path(str(DOCS / "make_answer.py"))
PAGES: Final = {page.name: page.read_text(encoding="utf-8") for page in MADE["PAGES"]}
ROWS: Final[dict[str, dict[str, Any]]] = json.loads(
    (DOCS / "answer" / "results.json").read_text(encoding="utf-8")
)
NAMES: Final = {EVERY_CALL_ENDS, *(each.__name__ for each in INVARIANTS)}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_the_rows_say(page: str) -> None:
    assert MADE["written"](PAGES[page], ROWS) == PAGES[page], "run `python docs/make_answer.py`"


def test_no_line_gives_a_verdict_without_its_row() -> None:
    for line in PAGES["the-question.md"].splitlines():
        is_verdict = line.startswith("|") and ("no reachable state" in line or any(n in line for n in NAMES))
        if is_verdict:
            row = re.search(r"\| `([a-z0-9]+/[a-z-]+)` \|$", line)
            assert row is not None, line
            assert row[1] in ROWS


def test_each_verdict_of_the_table_of_knobs_names_its_row_and_says_what_that_says() -> None:
    (block,) = re.findall(
        r"<!-- knobs -->\n(.*?)\n<!-- end -->", PAGES["the-question-in-detail.md"], re.DOTALL
    )
    lines = [line.strip("| ").split(" | ") for line in block.splitlines()[2:]]
    cells = [cell for line in lines for cell in line[3:] if cell.strip()]
    assert len(cells) >= len(lines) >= len(KNOB_DESIGNS)
    for cell in cells:
        parts = re.fullmatch(r"(?:nothing breaks|`(\w+)` .*) `([a-z]+/[a-z-]+)`", cell.strip())
        assert parts is not None, cell
        row = ROWS[parts[2]]
        assert row["complete"]
        names = [name for name, _ in row["violations"]]
        assert parts[1] in (names or [None])


def test_each_knob_has_a_row() -> None:
    assert {f"knobs/{name}" for name in (*KNOB_DESIGNS, ASKS.name, MARKS.name)} <= ROWS.keys()


def test_a_setting_without_which_something_breaks_is_needed_and_no_other() -> None:
    sound = {"violations": [], "complete": True}
    unsound = sound | {"violations": [["the_tables_agree", 3]]}
    rows = {"knobs/tracked": sound, "knobs/tracked-copies": unsound, "knobs/tracked-early": sound}
    assert MADE["needed"](rows, "tracked", "tracked-copies") == MADE["NEEDED"]
    assert MADE["needed"](rows, "tracked", "tracked-early") == MADE["FREE"]
    assert MADE["needed"](rows | {"knobs/tracked": unsound}, "tracked", "tracked-early") not in {
        MADE["NEEDED"],
        MADE["FREE"],
    }


def test_each_design_has_a_verdict_and_a_cost() -> None:
    for name in ("all", "costs"):
        assert [row_id for row_id in ROWS if row_id.startswith(f"{name}/")] == [
            f"{name}/{design}" for design in SHOWN
        ]


@pytest.mark.parametrize("row_id", ROWS)
def test_a_row_says_how_it_came_about(row_id: str) -> None:
    row = ROWS[row_id]
    assert re.fullmatch(r"(pef|python -m pef_mutants) [a-zA-Z0-9 ,.=-]+", row["command"])
    assert re.fullmatch(r"[0-9a-f]{7,40}", row["commit"])
    for invariant, length in row.get("violations", ()):
        assert invariant in NAMES
        assert length > 0


def test_only_a_complete_search_is_called_sound() -> None:
    cut = {"violations": [], "complete": False, "depth": 7}
    assert "cut" in MADE["verdict_of"](cut)
    assert MADE["verdict_of"](cut | {"complete": True}) == MADE["SOUND"]


def test_at_most_five_diagrams() -> None:
    assert PAGES["the-question.md"].count("```mermaid") <= 5
