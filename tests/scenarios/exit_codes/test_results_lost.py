"""What can't be written, to a file or to standard output, and a reader that has left."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import pytest

from pef_lab.cli import app
from scenarios.exit_codes.commands import (
    COMMANDS,
    DONE,
    KEY,
    QUICK,
    READER_LEFT,
    SIMULATE,
    WRONG,
    one_line,
    raising,
)

WRITERS: Final = (
    *(("designs", option) for option in ("--json", "--trace")),
    *(("rows", option) for option in ("--json", "--junit")),
    *((name, "--json") for name in ("hostile", "explore", "simulate")),
    ("step", "--save"),
    *(("lesson grade", option) for option in ("--json", "--csv")),
)
"""Every option that names a file that is written."""


@pytest.mark.parametrize(("name", "option"), WRITERS)
@pytest.mark.parametrize("place", ["no/such/directory/file", "."])
def test_a_file_that_can_not_be_written_is_one_line_before_anything_begins(
    name: str,
    option: str,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(subprocess, "Popen", raising(AssertionError("something is started")))
    assert app.run([*COMMANDS[name], option, place]) == WRONG
    assert one_line(capsys).startswith(f"{place}: ")


@pytest.mark.parametrize(
    "words",
    [
        (*COMMANDS["explore"], "--state"),
        (*COMMANDS["explore"], "--keep"),
        (*SIMULATE, "100", "--design", "broken", "--keep"),
        ("image", "build", "--machine-key", KEY, "--size", "64MiB"),
    ],
    ids=["explore --state", "explore --keep", "simulate --keep", "image build"],
)
def test_a_directory_that_can_not_be_made_is_one_line(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run([*words, "/dev/null/directory"]) == WRONG
    assert one_line(capsys) == "/dev/null/directory: Not a directory"


@pytest.mark.parametrize("name", ["up", "down"])
def test_a_place_for_tokens_that_can_not_be_made_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/dev/null")
    assert app.run(COMMANDS[name]) == WRONG
    assert one_line(capsys).startswith("/dev/null/pef-")


@pytest.mark.parametrize("name", ["explore", "simulate"])
def test_a_result_that_does_not_fit_is_shown_before_it_is_lost(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run([*COMMANDS[name], "--json", "/dev/full"]) == WRONG
    out, err = capsys.readouterr()
    assert "tracked" in out
    assert err.splitlines()[-1] == "pef: /dev/full: No space left on device"


@contextmanager
def standard_output(stream: TextIO | None) -> Iterator[None]:
    """Have standard output be `stream`, or closed."""
    before, sys.stdout = sys.stdout, stream
    try:
        yield
    finally:
        sys.stdout = before


@pytest.mark.parametrize("name", COMMANDS)
def test_without_standard_output_nothing_is_begun(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with standard_output(None):
        assert app.run(COMMANDS[name]) == WRONG
    assert one_line(capsys).startswith("standard output is closed")


@pytest.mark.parametrize(
    "words", [*((*COMMANDS[name], "--help") for name in COMMANDS), *map(COMMANDS.get, QUICK)]
)
def test_output_on_a_full_disk_is_one_line(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full, standard_output(full):
        assert app.run(words) == WRONG
    assert one_line(capsys) == "No space left on device"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "words", [*((*COMMANDS[name], "--help") for name in COMMANDS), *map(COMMANDS.get, QUICK)]
)
def test_output_in_another_encoding_is_whole(words: tuple[str, ...], encoding: str, tmp_path: Path) -> None:
    with (file := tmp_path / "output").open("w", encoding=encoding) as stream, standard_output(stream):
        assert app.run(words) == DONE
    assert len(file.read_text(encoding=encoding).splitlines()) > 0


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_reader_has_left_ends_quietly(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    end, place = os.pipe()
    os.close(end)
    with os.fdopen(place, "w", encoding="utf-8") as stream, standard_output(stream):
        assert app.run(COMMANDS[name]) == READER_LEFT
    assert "pef: " not in capsys.readouterr().err
