"""Numbers as people write them, and as commands print them: `89`, or `0x59` in hexadecimal."""

import re
from collections.abc import Callable
from typing import Final

import typer

_NUMBER: Final = re.compile(r"-?(\d{1,30}|0[xX][0-9a-fA-F]{1,30})", re.ASCII)


def parse_number(text: str) -> int:
    """Return the whole number that `text` names; raise ValueError where it names none."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no number: write it as 89, or as 0x59 in hexadecimal")
    is_hexadecimal = "x" in text.lower()
    return int(text, 16 if is_hexadecimal else 10)


def number(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """Return what reads an option that is a whole number from `least` to `most`."""

    def parse(text: str | int) -> int:
        try:
            value = parse_number(str(text))
        except ValueError as fault:
            raise typer.BadParameter(str(fault)) from None
        if (least is not None and value < least) or (most is not None and value > most):
            raise typer.BadParameter(f"{value} is not {range_of(least, most)}")
        return value

    return parse


def range_of(least: int | None, most: int | None) -> str:
    """Return a range in words."""
    if most is None:
        return f"{least} or more"
    return f"from {least} to {most}"
