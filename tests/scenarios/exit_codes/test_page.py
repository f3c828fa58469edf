"""The page of exit codes, line by line: every command, and how it comes to a finding."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import typer

from pef_lab.cli import app
from pef_lab.hostile.catalogue import ATTACKS
from pef_lab.hostile.report import Row
from pef_lab.hostile.trial import Trial
from pef_lab.replay.player import Difference
from scenarios.exit_codes.commands import (
    COMMANDS,
    DONE,
    EXAMPLE,
    EXPLORE,
    FINDING,
    ON_A_PAIR,
    PAGE,
    QUICK,
    SIMULATE,
    answering,
    name_the_pair,
    raising,
)


def lines_of_the_page() -> dict[str, tuple[str, str]]:
    """Return what the page says of 0 and of 1, by command."""
    text = PAGE.read_text(encoding="utf-8").partition("## Command by command")[2]
    found = re.findall(r"^\| (`.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    return {command: (done, finding) for command, done, finding in found}


def paths_of(group: Any, before: str = "") -> Iterator[str]:
    """Yield the names of all commands of a group, those of its groups with both names."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from paths_of(command, f"{before}{name} ")
        else:
            yield before + name


def test_the_page_has_every_command_once_and_no_other() -> None:
    everything = set(paths_of(typer.main.get_command(app)))
    assert everything == set(COMMANDS)
    named = [command.removeprefix("`pef ").removesuffix("`") for command in lines_of_the_page()]
    others = {name for name in named if not name.startswith("`")} ^ everything
    assert not others
    assert len(named) == len(everything) + 3


def returning(value: Any) -> Callable[..., Any]:
    """Return what stands for work that comes to `value`."""

    async def work(*_: Any, **__: Any) -> Any:
        return value

    return work


def finding_of_demo(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Have the tour find something."""
    patch.setattr("pef_lab.tour.tour", returning(["a page: text (expected: ciphertext)"]))
    return COMMANDS["demo"]


def finding_of_replay(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Have something come out otherwise than the file says."""
    patch.setattr("pef_lab.replay.command._play", raising(Difference("step 1", "U_SUCCESS", "U_BUSY")))
    return COMMANDS["replay"]


def finding_of_hostile(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Have an attack succeed."""
    trial = Trial(ground=None)  # type: ignore[arg-type]  # nothing is asked of it
    trial.saw("private text on the wire", "a message", "nowhere")
    patch.setattr("pef_lab.hostile.command.attacked", returning([Row(ATTACKS[0], trial, 0.0)]))
    return COMMANDS["hostile"]


FINDINGS: Final[dict[str, Callable[[pytest.MonkeyPatch], tuple[str, ...]]]] = {
    "demo": finding_of_demo,
    "replay": finding_of_replay,
    "hostile": finding_of_hostile,
    "explore": lambda _: (*EXPLORE, "broken"),
    "simulate": lambda _: (*SIMULATE, "100", "--design", "broken"),
    "lesson check": lambda _: ("lesson", "check", EXAMPLE, "--lesson", "7"),
}
"""For each command that can end with 1: how it comes to a finding."""


@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_is_status_1_and_is_shown(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(FINDINGS[name](monkeypatch)) == FINDING
    out, err = capsys.readouterr()
    assert "✘" in out + err
    assert "pef: " not in err


def test_nonsense_of_a_subject_is_a_finding_of_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(200, "application/json", b"{}") as url:
        name_the_pair(monkeypatch, url)
        assert app.run(ON_A_PAIR["rows"]) == FINDING
    assert "harness error" in capsys.readouterr().out


def test_the_page_says_of_each_command_whether_it_can_end_with_a_finding() -> None:
    can = {name for name, (_, finding) in lines_of_the_page().items() if finding != "never"}
    assert can == {f"`pef {name}`" for name in (*FINDINGS, "rows")}


@pytest.mark.parametrize("name", QUICK)
def test_what_is_done_is_status_0(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(COMMANDS[name]) == DONE
    assert "pef: " not in capsys.readouterr().err
