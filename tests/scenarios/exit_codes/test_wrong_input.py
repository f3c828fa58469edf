"""Wrong words and files of another format: one line, status 2, nothing begun."""

from pathlib import Path
from typing import Final

import pytest

from pef_lab.cli import app
from pef_mutants.__main__ import app as mutants
from scenarios.exit_codes.commands import COMMANDS, EXAMPLE, WRONG, one_line


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("wrong", ["--no-such-option", "--help=x"])
def test_a_wrong_word_is_one_line(name: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([*COMMANDS[name], wrong]) == WRONG
    assert wrong.partition("=")[0] in one_line(capsys)


@pytest.mark.parametrize("words", [["serve", "no-such-mutant"], ["no-such-command"], ["--no-such-option"]])
def test_a_wrong_word_to_the_mutants_is_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutants.run(words) == WRONG
    assert one_line(capsys)


READERS: Final[dict[str, tuple[str, ...]]] = {
    "trace": ("trace",),
    "replay": ("replay",),
    "simulate --file": ("simulate", "--file"),
    "rows --waive": ("rows", "--waive"),
}
"""Every command that reads a file of a format."""
FILES: Final[dict[str, bytes | None]] = {
    "missing": None,
    "empty": b"",
    "no text": bytes(range(256)),
    "half of one": Path(EXAMPLE).read_bytes()[:900],
    "a list": b"[]",
    "a number": b"1",
    "another format": b'{"format": "\\ud800"}',
    "too deep": b"[" * 100_000,
    "a deep value": b"x = " + b"[" * 100_000,
    "a number without end": b"1" * 10_000,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", FILES)
def test_a_file_that_is_not_of_its_format_is_one_line(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    if (octets := FILES[content]) is not None:
        file.write_bytes(octets)
    assert app.run([*READERS[name], str(file)]) == WRONG
    assert str(file) in one_line(capsys)


@pytest.mark.parametrize("name", [*READERS, "image build --attach"])
def test_a_directory_in_place_of_a_file_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {**READERS, "image build --attach": (*COMMANDS["image build"], "--attach")}[name]
    named = f"name={tmp_path}" if "--attach" in words else str(tmp_path)
    assert app.run([*words, named]) == WRONG
    assert "Is a directory" in one_line(capsys)
