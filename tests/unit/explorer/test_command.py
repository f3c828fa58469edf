"""`pef explore`: a table, a report and a file for each fall; wrong input is one line and status 2."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from pef_explorer.search import exploration
from pef_explorer.search.exploration import Bounds, plans_of
from pef_explorer.search.search import Search
from pef_lab.cli import app
from pef_lab.replay.counterexample import read
from pef_protocol.designs import Design

QUICK = ("--processes", "1")


def explored(*words: str | Path) -> int:
    return app.run(["explore", *QUICK, *map(str, words)])


def test_what_was_found_is_told_as_a_table_as_json_and_as_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, keep = tmp_path / "report.json", tmp_path / "kept"
    words = ("--design", "broken", "--design", "tracked", "--limit", "500", "--json", report, "--keep", keep)
    assert explored(*words) == 1
    reported = json.loads(report.read_text())
    assert reported["command"] == (
        "pef explore --design broken --design tracked --slots 2,1 --vcpus 1 --limit 500"
    )
    broken, tracked = reported["designs"]
    assert (
        set(broken)
        == set(tracked)
        == {*("name", "states", "transitions", "depth", "complete", "with", "seconds", "violations")}
    )
    assert (broken["name"], tracked["name"]) == ("broken", "tracked")
    assert (broken["complete"], tracked["complete"]) == (False, False)
    assert tracked["violations"] == []
    (violation,) = broken["violations"]
    file = Path(violation["file"])
    assert (violation["invariant"], file.parent) == ("the_tables_agree", keep)
    assert read(file).violated_after == violation["length"]
    out = " ".join(capsys.readouterr().out.split())
    assert f"✘ broken: the_tables_agree after {violation['length']} steps" in out
    assert f"pef replay {file}" in out
    assert "nothing broken so far: cut" in out
    assert [path.name for path in keep.iterdir()] == ["broken-the-tables-agree.json"]


def test_what_is_explored_to_its_end_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One call at a time is a small search."""
    report = tmp_path / "report.json"
    assert explored("--design", "tracked", "--slots", "1", "--calls", "1", "--json", report) == 0
    (tracked,) = json.loads(report.read_text())["designs"]
    assert (tracked["complete"], tracked["violations"]) == (True, [])
    assert "no reachable state breaks an invariant" in " ".join(capsys.readouterr().out.split())


def test_a_row_says_what_was_switched_on(tmp_path: Path) -> None:
    report, words = tmp_path / "report.json", ("--design", "tracked", "--slots", "1,1", "--calls", "1")
    assert explored(*words, "--with", "range,old-ciphertext", "--limit", "50", "--json", report) == 0
    reported = json.loads(report.read_text())
    assert reported["command"].endswith("--calls 1 --with old-ciphertext,range --limit 50")
    assert [design["with"] for design in reported["designs"]] == [["old-ciphertext", "range"]]


def test_a_search_that_was_cut_is_gone_on_with(tmp_path: Path) -> None:
    def reported(*words: str | Path) -> dict[str, Any]:
        report = tmp_path / "report.json"
        assert explored("--design", "tracked", "--slots", "1", "--calls", "1", "--json", report, *words) == 0
        (design,) = json.loads(report.read_text())["designs"]
        del design["seconds"]
        return dict(design)

    state = tmp_path / "state"
    whole = reported()
    assert reported("--state", state, "--limit", "100")["complete"] is False
    assert sorted(path.suffix for path in state.iterdir()) == [".search"] * 3
    assert reported("--state", state) == whole
    assert whole["complete"] is True


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--design", "perfect"], "--design: there is no design 'perfect'; there are "),
        (["--slots", "9,1"], "--slots: 9,1 can't be explored"),
        (["--slots", "2,2"], "--slots: 2,2 can't be explored"),
        (["--slots", "two"], "--slots: 'two' is not N or N,M"),
        (["--slots", "0,1"], "--slots: 0,1 can't be explored"),
        (["--slots", "-1"], "--slots: '-1' is not N or N,M"),
        (["--vcpus", "3"], "--vcpus"),
        (["--limit", "-5"], "--limit"),
        (["--with", "magic"], "--with: there is no 'magic'; there are range, old-ciphertext, measured-plug"),
        (["--slots", "1", "--with", "range"], "--with range: there is one GFN only"),
        (["--slots", "1", "--with", "measured-plug"], "--with measured-plug: there is no slot to plug"),
        (["--json", "/no/such/directory/file"], "/no/such/directory/file: No such file"),
        (["--processes", "2", "--scheduler", "tcp://x:1"], "give one of them"),
    ],
)
def test_wrong_input_is_one_clear_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["explore", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.startswith("pef: ")) == ("", 1, True)
    assert says in err


def state_file(directory: Path) -> Path:
    """Return where the search of the first plan of `tracked` is written down."""
    (plan, *_) = plans_of(Design.TRACKED, Bounds(slots=(1, 0)))
    return Path(exploration._kept(directory, 0, plan))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps(7),
        pickle.dumps(("a", "b", "c")),
        b"cpef_explorer.search.search\nSearched\n.",
        b"cpef_explorer.search.searching\nSearch\n.",
    ],
    ids=["empty", "no pickle", "a number", "strings", "no such name", "no such module"],
)
def test_a_state_file_of_another_version_is_one_clear_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = state_file(tmp_path)
    file.write_bytes(content)
    assert explored("--design", "tracked", "--slots", "1", "--limit", "50", "--state", tmp_path) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"pef: --state: {file} is not of this version")


def test_a_state_file_of_another_plan_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = state_file(tmp_path)
    (plan, *_) = plans_of(Design.BROKEN, Bounds(slots=(1, 0)))
    file.write_bytes(pickle.dumps((exploration.FORM, Search(plan), 1.0)))
    assert explored("--design", "tracked", "--slots", "1", "--limit", "50", "--state", tmp_path) == 2
    assert capsys.readouterr().err == f"pef: --state: {file} is of another plan\n"
