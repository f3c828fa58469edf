"""Clauses in the form of tables: while a variable has this value, one of these cubes holds."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from induction.clause import Clause, clause
from induction.rule import Allowed

Rows: TypeAlias = Mapping[str, Mapping[str, Allowed] | tuple[Mapping[str, Allowed], ...]]
ANYWHERE: Final[Mapping[str, Allowed]] = {}


def both(*cubes: Mapping[str, Allowed]) -> dict[str, Allowed]:
    """Return the cube in which each of `cubes` holds; one that is impossible allows a variable nothing."""
    joined: dict[str, Allowed] = {}
    for each in cubes:
        for name, allowed in each.items():
            values = (allowed,) if isinstance(allowed, str) else allowed
            before = joined.get(name, values)
            known = (before,) if isinstance(before, str) else before
            joined[name] = tuple(value for value in values if value in known)
    return joined


def by(sentence: str, name: str, rows: Rows, when: Mapping[str, Allowed] = ANYWHERE) -> Iterator[Clause]:
    """Yield a clause for each row: while `name` has that value, one of its cubes holds."""
    for value, cubes in rows.items():
        must = cubes if isinstance(cubes, tuple) else (cubes,)
        yield clause(f"{sentence}: {name} is {value}", {**when, name: value}, *must)
