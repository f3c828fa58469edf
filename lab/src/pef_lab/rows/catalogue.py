"""All rows, by subject and by id, and the lines that a summary has.

A subject's rows are those of its sides; the ones that can't be played on it stay among them and are skipped,
with the reason, so that no list hides what it leaves out.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

from pef_lab.failures import WrongInput
from pef_lab.rows import hypervisor, pair, ultravisor
from pef_lab.rows.row import Kind, Row
from pef_lab.rows.sheet import Unmade
from pef_lab.rows.subject import Subject
from pef_protocol.calls import CALLS

OF_CALLS: Final = frozenset({Kind.SUCCESS, Kind.RUNG, Kind.PAIR, Kind.CODE})
"""Kinds whose rows count on the line of their call."""


class SameId(ValueError):
    """Two rows have one id: neither could be run alone."""


@cache
def all_rows() -> tuple[Row, ...]:
    """Return every row there is; raise SameId where two have one id."""
    return unique((*ultravisor.rows(), *hypervisor.rows(), *pair.rows()))


@cache
def rows_of(subject: Subject) -> tuple[Row, ...]:
    """Return the rows about a subject's sides, whether they can be played on it or not."""
    match subject:
        case Subject.PAIR:
            return all_rows()
        case Subject.ULTRAVISOR:
            return unique(ultravisor.rows())
        case Subject.HYPERVISOR:
            return unique(hypervisor.rows())
        case Subject.BARE_HYPERVISOR:
            return tuple(row for row in hypervisor.rows() if subject in row.of)


@cache
def unmade() -> tuple[Unmade, ...]:
    """Return the pairs of rungs that have no row."""
    return (*ultravisor.unmade(), *hypervisor.unmade())


def unique(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows; raise SameId where two have one id."""
    found = tuple(rows)
    if twice := [name for name, times in Counter(row.id for row in found).items() if times > 1]:
        raise SameId(f"rows with the same id: {', '.join(twice)}")
    return found


def check_patterns(rows: Sequence[Row], patterns: Sequence[str]) -> None:
    """Raise WrongInput for a pattern that is no row's."""
    for pattern in patterns:
        if not any(fnmatchcase(row.id, pattern) for row in rows):
            raise WrongInput(f"--id: {pattern!r} names no row; `pef rows --list` shows all")


def chosen(rows: Sequence[Row], patterns: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows whose id matches a pattern; all where there is none."""
    return tuple(
        row for row in rows if not patterns or any(fnmatchcase(row.id, pattern) for pattern in patterns)
    )


def line_of(row: Row) -> str:
    """Return the line of a summary that a row counts on: its call, or its kind and how its id begins."""
    if row.kind in OF_CALLS and row.call in CALLS:
        return row.call
    return f"{row.kind} {row.id.partition('/')[0]}/…"


def in_order(lines: Iterable[str]) -> list[str]:
    """Return lines in the order of a summary: calls as their table has them, then the rest."""
    calls = list(CALLS)
    return sorted(dict.fromkeys(lines), key=lambda line: calls.index(line) if line in CALLS else len(calls))
