"""A run that takes more than half a minute says so before it begins."""

import re
from collections.abc import Sequence
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pef_explorer.search import command as search
from pef_explorer.simulation import command as simulation
from pef_lab import comparing
from pef_lab.cli import app
from pef_lab.estimates import WORTH_SAYING, in_words, say_how_long
from pef_lab.hostile import command as hostile
from pef_lab.rows import command as rows


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(31, "30 seconds"), (54, "50 seconds"), (119, "120 seconds"), (200, "3 minutes"), (9000, "2.5 hours")],
)
def test_a_time_is_rounded(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize(("seconds", "said"), [(0.0, False), (WORTH_SAYING, False), (31.0, True)])
def test_a_short_run_says_nothing(seconds: float, said: bool) -> None:
    written = StringIO()
    say_how_long(Console(file=written), seconds)
    assert bool(written.getvalue()) is said


class Stopped(Exception):
    """The run was about to begin."""


def stopped(*_: object, **__: object) -> None:
    """Begin nothing."""
    raise Stopped


LONG: Sequence[tuple[str, object, str]] = (
    ("rows", rows, "_pass"),
    ("hostile", hostile, "attacked"),
    ("designs --touched 1GiB --size 4GiB", comparing, "_run"),
    ("simulate --seeds 1000", simulation, "engine_for"),
    ("explore --slots 1 --processes 1", search, "explored"),
    ("explore --minutes 1 --processes 2", search, "explored"),
    ("explore --limit 100000 --processes 2", search, "explored"),
)
SHORT: Sequence[tuple[str, object, str]] = (
    ("rows --id *H_SVM_INIT_DONE*", rows, "_pass"),
    ("hostile --id 1", hostile, "attacked"),
    ("designs", comparing, "_run"),
    ("simulate --seeds 3", simulation, "engine_for"),
    ("explore --limit 1000", search, "explored"),
    ("explore --calls 1 --slots 1", search, "explored"),
)


@pytest.mark.parametrize(
    ("line", "module", "begins", "long"),
    [*((*each, True) for each in LONG), *((*each, False) for each in SHORT)],
)
def test_it_is_said_before_the_run_begins(
    line: str, module: object, begins: str, long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, begins, stopped)
    ran = CliRunner().invoke(app, line.split())
    assert isinstance(ran.exception, Stopped), ran.output
    said = re.findall(r"this takes about [\d.]+ \w+ on two free cores", ran.stderr)
    assert bool(said) is long, ran.stderr


def test_where_nobody_knows_how_long_it_says_what_bounds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "explored", stopped)
    ran = CliRunner().invoke(app, ["explore"])
    assert "is not known, perhaps hours; `--minutes`" in ran.stderr
