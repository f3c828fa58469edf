"""Whole numbers are read as they are printed, in decimal or in hexadecimal."""

from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis.strategies import integers

from pef_lab.cli import app
from pef_lab.numbers import number, parse_number
from pef_lab.sizes import parse_size


@given(integers(-(2**64), 2**64))
def test_what_is_printed_is_read(value: int) -> None:
    assert parse_number(str(value)) == value
    assert parse_number(hex(value)) == value
    assert parse_number(hex(value).upper()) == value


@pytest.mark.parametrize(
    "text", ["", "59h", "x59", "0x", "0xg", "1e3", "1.0", " 1", "1_000", "0b1", "٣", "9" * 31]
)
def test_what_is_no_number_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="is no number: write it as 89, or as 0x59"):
        parse_number(text)


@pytest.mark.parametrize("text", ["0", "0x5", "-1"])
def test_what_is_out_of_range_says_the_range(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"is not from 1 to 4"):
        number(1, 4)(text)
    assert number(1, 4)("0x4") == 4


def whole_numbers() -> list[tuple[list[str], Any]]:
    """Return each whole number that a command takes, with the words of the command."""

    def within(command: Any, words: list[str]) -> list[tuple[list[str], Any]]:
        own = [(words, each) for each in command.params if "int" in str(each.type_descriptor.annotation)]
        inner = command.list_commands(None) if hasattr(command, "list_commands") else []
        return own + [
            one for name in inner for one in within(command.get_command(None, name), [*words, name])
        ]

    return within(typer.main.get_command(app), [])


@pytest.mark.parametrize(
    ("words", "parameter"),
    whole_numbers(),
    ids=lambda value: "-".join(value) if isinstance(value, list) else value.name,
)
def test_each_whole_number_of_a_command_is_read_in_hexadecimal(
    words: list[str], parameter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is out of range is refused with its value in decimal, and so was read."""
    too_much = hex(-1)
    named = [parameter.opts[0], too_much] if parameter.opts[0].startswith("-") else ["--", too_much]
    assert app.run([*words, *named]) == 2
    assert "-1 is not " in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0x1000", "0X1000", "0x4KiB", "0x4 KiB", "4096"])
def test_a_size_is_read_in_hexadecimal(text: str) -> None:
    assert parse_size(text) == 4096
