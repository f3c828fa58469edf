"""Waivers: failing rows that somebody answers for, with a reason and until a date.

    [[waiver]]
    id = "uv/page-in/order/*"          # as --id
    owner = "who answers for it"
    reason = "why it may fail for now"
    expires = 2027-01-31               # the last day on which it counts

Only a failure can be waived: a row that could not be played says nothing that anybody could answer for.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from pef_lab.failures import WrongInput
from pef_lab.rows.row import Played, Row, Verdict

PARTS: Final = ("id", "owner", "reason", "expires")


@dataclass(frozen=True, slots=True)
class Waiver:
    """One waiver; `pattern` says which rows."""

    pattern: str
    owner: str
    reason: str
    expires: date

    def names(self, row: Row) -> bool:
        """Tell whether a row is one of those that are waived."""
        return fnmatchcase(row.id, self.pattern)


def read_waivers(file: Path) -> tuple[Waiver, ...]:
    """Return the waivers in a file; raise WrongInput where it holds none, or something else."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as fault:
        raise WrongInput(f"--waive: {file}: {fault.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise WrongInput(f"--waive: {file}: not TOML: {fault}") from None
    tables = content.get("waiver")
    if set(content) != {"waiver"} or not isinstance(tables, list):
        raise WrongInput(f"--waive: {file}: a list of [[waiver]] is wanted, and nothing else")
    return tuple(_read(file, number, table) for number, table in enumerate(tables, 1))


def _read(file: Path, number: int, table: Any) -> Waiver:
    where = f"--waive: {file}: waiver {number}"
    if not isinstance(table, dict) or set(table) != set(PARTS):
        raise WrongInput(f"{where}: has to have {', '.join(PARTS)}, and nothing else")
    for part in PARTS[:-1]:
        if not isinstance(table[part], str) or not table[part].strip():
            raise WrongInput(f"{where}: {part}: a text is wanted")
    if not isinstance(table["expires"], date) or isinstance(table["expires"], datetime):
        raise WrongInput(f"{where}: expires: a date is wanted, as 2027-01-31")
    return Waiver(table["id"], table["owner"], table["reason"], table["expires"])


def waived(played: Played, waivers: Sequence[Waiver], today: date) -> Played:
    """Return a row as waived if it failed and a waiver that has not expired names it; else as it is."""
    if played.verdict is not Verdict.FAIL:
        return played
    for waiver in waivers:
        if waiver.names(played.row) and today <= waiver.expires:
            cause = f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}"
            return replace(played, verdict=Verdict.WAIVED, cause=cause)
    return played


def said_of(
    waivers: Sequence[Waiver], played: Sequence[Played], rows: Sequence[Row], today: date
) -> list[str]:
    """Return what is to be said of waivers that do nothing: expired ones, and useless ones.

    `played` are the rows of this run, `rows` all that there are: a waiver of rows that were not played is
    neither.
    """
    told = [(_unused(waiver, played, rows, today), waiver) for waiver in waivers]
    return [f"the waiver of {waiver.pattern} by {waiver.owner} {why}" for why, waiver in told if why]


def _unused(waiver: Waiver, played: Sequence[Played], rows: Sequence[Row], today: date) -> str:
    if not any(waiver.names(row) for row in rows):
        return "names no row"
    if today > waiver.expires:
        return f"expired on {waiver.expires}"
    verdicts = {each.verdict for each in played if waiver.names(each.row)} - {Verdict.SKIPPED}
    if verdicts and not verdicts & {Verdict.FAIL, Verdict.WAIVED}:
        return "waives nothing: no row of it fails"
    return ""
