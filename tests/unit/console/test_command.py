"""`pef console` as it is typed: its help, and one line for what is wrong."""

from pathlib import Path

import pytest

from pef_lab.cli import app


def test_its_help_lists_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["console", "--help"]) == 0
    shown = capsys.readouterr().out
    options = ("--port", "--bind", "--published", "--read-only", "--open", "--files")
    assert [option for option in options if option not in shown] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "65536"), "Invalid value for '--port'"),
        (("--published", "here"), "--published: HOST:PORT is needed, not 'here'"),
        (("--files", "/nowhere"), "--files: /nowhere is no directory"),
        (("--open", "/nowhere"), "/nowhere: no such file or directory"),
        (("--open", "{}/other.json"), "other.json: none of the files that the lab writes"),
        (("--open", "{}/version.json"), "version.json: of another version: 'pef-counterexample/9'"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "version.json").write_text('{"format": "pef-counterexample/9"}')
    assert app.run(["console", *(word.format(tmp_path) for word in words)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)
