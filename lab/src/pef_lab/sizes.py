"""Sizes as people write them: `64MiB`, `100GiB`, `1.5TiB`, `4096`, `0x1000`."""

import re
from fractions import Fraction
from typing import Final

from pef_lab.failures import WrongInput

UNITS: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
LARGEST: Final = 64 * UNITS["TiB"]
_SIZE: Final = re.compile(r"(0[xX][0-9a-fA-F]{1,20}|\d{1,20}(?:\.\d{1,6})?)(?: ?([A-Za-z]*))", re.ASCII)
_BY_LOWER_CASE: Final = {unit.lower(): factor for unit, factor in UNITS.items()}


def parse_size(text: str, what: str = "size") -> int:
    """Return the bytes that `text` names; raise WrongInput where it names none, or over 64 TiB."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise WrongInput(f"{what}: {text!r} is no size: write a number and a unit, such as 64MiB or 100GiB")
    number, unit = match.groups()
    factor = _BY_LOWER_CASE.get(unit.lower())
    if factor is None:
        known = ", ".join(unit for unit in UNITS if unit)
        raise WrongInput(f"{what}: {unit!r} in {text!r} is no unit: use {known}")
    size = (Fraction(int(number, 16)) if "x" in number.lower() else Fraction(number)) * factor
    if size.denominator != 1 or not 0 < size <= LARGEST:
        raise WrongInput(
            f"{what}: {text!r} is not between 1 byte and {show_size(LARGEST)}, or no whole bytes"
        )
    return int(size)


def show_size(size: float) -> str:
    """Return `size` (bytes) in the largest unit that it fills, with at most one decimal."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size >= UNITS[unit]:
            return f"{size / UNITS[unit]:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size:g} B"


def show_seconds(seconds: float) -> str:
    """Return a time with three significant digits, in ms below a second."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def counted(number: int, noun: str) -> str:
    """Return `1 page`, `2 pages`: a number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
