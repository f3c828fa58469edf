"""`pef step` opens a new system, a counterexample, one of a mutant, or a session that was saved."""

import io
import json
from pathlib import Path

import pytest

from pef_lab.cli import app

FOLDER = Path(__file__).parents[4] / "docs" / "counterexamples"
FILE = FOLDER / "broken-the-tables-agree.json"


def stepped(monkeypatch: pytest.MonkeyPatch, typed: str, *words: str | Path) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    return app.run(["step", *map(str, words)])


def test_a_file_is_stepped_through(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stepped(monkeypatch, "e\n", FILE) == 0
    assert "BROKEN the_tables_agree, since node 12" in capsys.readouterr().out


def test_a_file_on_another_design(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stepped(monkeypatch, "", FILE, "--design", "tracked") == 0
    out = capsys.readouterr().out
    assert "design tracked, node 12 of 12" in out
    assert "BROKEN" not in out


def test_a_file_of_a_mutant_has_the_mutant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stepped(monkeypatch, "v\n", FOLDER / "mutants" / "K4.json") == 0
    assert "BROKEN an_error_changes_neither_side" in capsys.readouterr().out


def test_a_session_that_was_saved_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kept = tmp_path / "kept.json"
    system = ("--design", "pushed", "--image", "shared", "--plug", "0", "--vcpus", "2")
    assert stepped(monkeypatch, "1\nj\n", *system, "--save", kept) == 0
    assert stepped(monkeypatch, "k\n", kept, "--save", kept) == 0
    content = json.loads(kept.read_text())
    assert content["design"] == "pushed"
    assert content["system"] == {"image": ["shared"], "plug": 0, "vcpus": 2}
    assert (content["at"], len(content["nodes"])) == (1, 2)
    assert "design pushed, node 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["no-such-file"], "no-such-file: No such file or directory"),
        ([FILE, "--design", "fastest"], "--design: there is no design 'fastest'; there are eager, "),
        ([FILE, "--design", "eager", "--design", "broken"], "--design: one design is stepped through"),
        (["--image", "brought,lost"], "--image: 'lost' is none of brought, shared, unmigrated"),
        (["--image", ",".join(["shared"] * 9)], "--image: 9 GFNs, of 8 at most"),
        (["--plug", "9"], "Invalid value for '--plug': 9 is not from 0 to 8"),
        ([FILE, "--save", "no/such/directory/file"], "no/such/directory/file: "),
    ],
)
def test_wrong_input_is_one_line(
    words: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stepped(monkeypatch, "", *words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"pef: {line}")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"format": "pef-session/9"}, "a session of another version: 'pef-session/9'"),
        ({"format": "pef-session/1"}, "design: "),
        ({"format": "other/1"}, "not a counterexample: its format is not pef-counterexample/2"),
    ],
)
def test_a_file_of_another_kind_is_one_line(
    content: dict[str, str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file = tmp_path / "file.json"
    file.write_text(json.dumps(content))
    assert stepped(monkeypatch, "", file) == 2
    assert capsys.readouterr().err.startswith(f"pef: {file}: {line}")
