"""Services of our own that do not start."""

import re
import sys
from pathlib import Path
from typing import Final

import pytest

from pef_lab.cli import app
from scenarios.exit_codes.commands import COMMANDS, STARTS_A_PAIR, WRONG, one_line

SCRIPTS: Final = {
    "says why": "echo 'PEF_SOMETHING: no such thing' >&2; exit 2",
    "is killed": "kill -KILL $$",
    "says nothing": "exit 0",
}


@pytest.mark.sockets
@pytest.mark.parametrize("name", STARTS_A_PAIR)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_service_that_ends_as_it_starts_is_one_line(
    name: str,
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (programs := tmp_path / "bin").mkdir()
    for service in ("pef-ultravisor", "pef-hypervisor"):
        (file := programs / service).write_text(f"#!/bin/sh\n{SCRIPTS[script]}\n")
        file.chmod(0o755)
    (python := programs / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    assert app.run(COMMANDS[name]) == WRONG
    line = one_line(capsys)
    assert re.search("start of the (Ultravisor|Hypervisor): ", line)
    assert ("PEF_SOMETHING: no such thing" in line) == (script == "says why")


@pytest.mark.parametrize("name", STARTS_A_PAIR)
def test_a_service_that_is_not_installed_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert app.run(COMMANDS[name]) == WRONG
    assert "is not installed" in one_line(capsys)
