"""One name, one type and one help for each option, in all commands."""

from collections import defaultdict
from typing import Any

import typer

from pef_lab import options
from pef_lab.cli import app

OF_ONE_COMMAND = {"--help", "--version", "--endpoint"}
"""Options that no two commands have."""


def all_options() -> list[tuple[str, Any]]:
    """Return each option of each command, with the command's name."""

    def within(command: Any, name: str) -> list[tuple[str, Any]]:
        own = [(name, each) for each in command.params if each.param_type_name == "option"]
        inner = command.list_commands(None) if hasattr(command, "list_commands") else []
        return own + [
            one for each in inner for one in within(command.get_command(None, each), f"{name} {each}")
        ]

    return within(typer.main.get_command(app), "pef")


def test_what_has_one_name_has_one_type_and_one_help() -> None:
    seen: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for _, option in all_options():
        kind = (str(option.type_descriptor.annotation), option.metavar, option.multiple, option.is_flag)
        seen["/".join(option.opts)].add((*kind, option.help))
    assert {name: kinds for name, kinds in seen.items() if len(kinds) > 1} == {}


def test_what_has_one_help_has_one_name() -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    for _, option in all_options():
        seen[option.help].update(option.opts)
    assert {help_: names for help_, names in seen.items() if len(names) > 1} == {}


def test_every_option_stands_in_the_table() -> None:
    given = [found for each in vars(options).values() for found in getattr(each, "__metadata__", ())]
    names = [(found.default, *(found.param_decls or ())) for found in given]
    listed = {name for each in names for name in each if isinstance(name, str) and name.startswith("--")}
    named = {name for _, option in all_options() for name in option.opts} - OF_ONE_COMMAND
    assert named == listed


def test_names_that_lessons_use_stay() -> None:
    names = {name for _, option in all_options() for name in option.opts}
    assert names >= {"--design", "--slots", "--vcpus", "--faults", "--calls", "--json"}
