"""What the pages name is there: links, make targets, commands and their options."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from pef_lab.cli import app

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "lab" / "README.md",
)
COMMANDS: Final = typer.main.get_command(app)
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE: Final = re.compile(r"`([^`]+)`")
BLOCK: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_in(page: Path) -> list[str]:
    """Return what a page shows as code within its paragraphs, each on one line."""
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(code.split()) for code in CODE.findall(prose)]


def commands_of(group: Any) -> dict[str, set[str]]:
    """Return the names of the commands of a group with their options; of a group in it, its commands."""
    commands = {name: group.get_command(None, name) for name in group.list_commands(None)}
    return {
        name: set(getattr(command, "commands", None) or options_of(command))
        for name, command in commands.items()
    }


def options_of(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    inside = [link for link in links if link and "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    targets |= {"compose-demo", "compose-rows", "compose-hostile"}
    code = " ".join(code_in(page))
    named_here = set(re.findall(r"\bmake (?:[A-Z_]+=\S+ )*([a-z][a-z-]*)\b", code))
    assert named_here - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    commands = commands_of(COMMANDS)
    unknown: set[str] = set()
    for code in code_in(page):
        found = re.match(r"(?:\.venv/bin/)?pef ([a-z]+)\b(.*)", code)
        if found is None:
            continue
        command, rest = found.groups()
        options = set(re.findall(r"(?<!\S)--[a-z-]+", rest))
        if command not in commands or not options <= commands[command] | {"--help"}:
            unknown.add(code)
    assert unknown == set()
