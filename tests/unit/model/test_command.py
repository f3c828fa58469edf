"""The command says what differs, and its last line says how much; its status is that of a finding."""

from pathlib import Path
from typing import Any

import pytest

from pef_model import command
from pef_model.command import app
from pef_model.rest_state import RestState, Seen
from pef_model.spin import Reached

ONE, OTHER = (RestState(*[number] * 20) for number in (1, 2))
BOTH = Seen(frozenset({ONE, OTHER}), frozenset({(ONE, OTHER)}))
FIRST = Seen(frozenset({ONE}), frozenset())
OPTIONS = ["--design", "tracked", "--processes", "1"]


def saw(monkeypatch: pytest.MonkeyPatch, spin: Seen, explorer: Seen) -> None:
    """Have both tools see the same of each model."""
    monkeypatch.setattr(command, "require_tools", lambda: None)
    monkeypatch.setattr(command, "reached", lambda models: Reached((spin,) * len(models), 7))
    monkeypatch.setattr("pef_model.comparison.explored", lambda plan: explorer)


def test_where_both_saw_the_same_it_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saw(monkeypatch, BOTH, BOTH)
    assert app.run(OPTIONS) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "3 steps from one state at rest to the next are equal",
        "model-check: 3 models, 6 states at rest equal, 0 differences",
    ]


def test_each_difference_is_printed_and_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saw(monkeypatch, BOTH, FIRST)
    assert app.run(OPTIONS) == 1
    printed = capsys.readouterr().out.splitlines()
    assert f"✘ tracked (brought): only SPIN reaches {OTHER}" in printed
    assert f"✘ tracked (brought): only SPIN comes from {ONE} to {OTHER}" in printed
    assert printed[-1] == "model-check: 3 models, 3 states at rest equal, 6 differences"


def test_without_its_tools_it_says_in_one_line_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[Any], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert app.run(OPTIONS) == 2
    assert capsys.readouterr().err == "pef: spin and gcc not found; install with: apt-get install spin gcc\n"
