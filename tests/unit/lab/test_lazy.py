"""Help and mistakes are answered before anything is imported that takes long."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any, Final

import pytest
import typer

from pef_lab import lazy
from pef_lab.cli import app

LONG: Final = frozenset(
    {
        *("numpy", "httpx", "aiohttp", "fastapi", "starlette", "uvicorn"),
        *("cryptography", "rich", "fdt", "dask"),
    }
)
"""Libraries that take long to import. Typer itself takes pydantic."""
LEAVES: Final = """
import sys
from pef_lab.cli import app
status = app.run(sys.argv[1:])
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.__stdout__)
"""


def commands() -> list[list[str]]:
    """Return the words that name each command, and each group."""

    def within(command: Any, words: list[str]) -> list[list[str]]:
        inner = command.list_commands(None) if hasattr(command, "list_commands") else []
        return [
            words,
            *(each for name in inner for each in within(command.get_command(None, name), [*words, name])),
        ]

    return within(typer.main.get_command(app), [])


def imported_by(words: list[str]) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", LEAVES, *words], capture_output=True, text=True, check=True, timeout=60
    )
    return set(ran.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_imports_nothing_that_takes_long(words: list[str]) -> None:
    assert imported_by([*words, "--help"]) & LONG == set()


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["frobnicate"],
        ["designs", "--fast"],
        ["designs", "--size", "much"],
        ["designs", "--design", "best"],
        ["demo", "--normal-memory", "disk"],
        ["trace"],
        ["explore", "--vcpus", "9"],
        ["simulate", "--seeds", "none"],
        ["hostile", "--between-ultravisor", "0"],
        ["rows", "--peer-port", "x"],
        ["token", "guest", "nobody"],
    ],
    ids=" ".join,
)
def test_a_mistake_imports_nothing_that_takes_long(words: list[str]) -> None:
    assert imported_by(words) & LONG == set()


def found(value: str, name: str = "borrowed") -> dict[str, EntryPoint]:
    return {name: EntryPoint(name, value, lazy.GROUP)}


def test_a_command_of_another_distribution_is_loaded_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lazy, "found_commands", lambda: found("pef_explorer.command:explore"))
    assert app.run(["borrowed", "--vcpus", "9"]) == 2
    assert "--vcpus" in capsys.readouterr().err


def test_a_group_of_another_distribution_is_loaded_with_its_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = typer.Typer(help="Two words that greet.")
    group.command(name="hello")(lambda: typer.echo("hello"))
    group.command(name="goodbye")(lambda: typer.echo("goodbye"))
    monkeypatch.setattr(EntryPoint, "load", lambda _: group)
    monkeypatch.setattr(lazy, "found_commands", lambda: found("any:group"))
    assert app.run(["borrowed", "goodbye"]) == 0
    assert capsys.readouterr().out == "goodbye\n"
    assert app.run(["--help"]) == 0
    assert "Two words that greet." in capsys.readouterr().out


def test_a_command_that_can_t_be_loaded_says_why_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lazy, "found_commands", lambda: found("no_such_module:command"))
    assert app.run(["borrowed", "--whatever", "word"]) == 2
    assert capsys.readouterr().err == "pef: borrowed: No module named 'no_such_module'\n"
    assert app.run(["--help"]) == 0
    assert "No module named 'no_such_module'" in " ".join(capsys.readouterr().out.split())
