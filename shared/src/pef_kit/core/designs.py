"""Rows of designs by name: those that a part of the system has built in, and those from outside.

A design from outside is an entry point of the group `pef.designs`, under the name of the design. It gives an
object with one row per part: `hypervisor`, `ultravisor`, and `lab` for what observers expect. A part reads
its own row only, so it never needs the code of another part. An entry point is looked for only where the
environment variable `PEF_DESIGNS` names it (names separated by commas).

No rule is here: what a row means is the business of the part that it belongs to.
"""

import os
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from pef_protocol.designs import DesignName

GROUP: Final = "pef.designs"
NAMED_BY: Final = "PEF_DESIGNS"


class UnknownDesign(ValueError):
    """There is no such design, or it has no row for this part."""


class NamedRow(Protocol):
    """What a design is to one part: a frozen record that knows its name."""

    @property
    def name(self) -> DesignName:
        """Return the name of the design."""


Row = TypeVar("Row", bound=NamedRow)


def names_in(text: str) -> list[str]:
    """Return the names in `text`, which are separated by commas, once each."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def load_rows(part: str, kind: type[Row], names: Iterable[str]) -> list[Row]:
    """Return the rows that entry points give under `names`: of each its attribute `part`, a `kind`.

    Raise UnknownDesign where no entry point has the name, or where it gives no row of that name.
    """
    loaded: list[Row] = []
    for name in names:
        found = tuple(entry_points(group=GROUP, name=name))
        row = getattr(found[0].load(), part, None) if found else None
        if not isinstance(row, kind) or row.name != name:
            message = f"{NAMED_BY} names {name}: no entry point of {GROUP} gives a {part} row of that name"
            raise UnknownDesign(message)
        loaded.append(row)
    return loaded


def registered(
    built_in: Iterable[Row], part: str, kind: type[Row], named: str | None = None
) -> Mapping[str, Row]:
    """Return all rows by name: the built-in ones, and those that `named` (else `PEF_DESIGNS`) adds.

    Raise UnknownDesign as `load_rows` does, and where a design from outside has the name of another one.
    """
    rows: dict[str, Row] = {str(row.name): row for row in built_in}
    for row in load_rows(part, kind, names_in(os.environ.get(NAMED_BY, "") if named is None else named)):
        if rows.setdefault(str(row.name), row) is not row:
            message = f"{NAMED_BY} names {row.name}: there is a design of that name already"
            raise UnknownDesign(message)
    return MappingProxyType(rows)


def require_registered(rows: Mapping[str, NamedRow], name: object) -> DesignName:
    """Return the name of the row that `name` names; raise UnknownDesign, which lists all, where none does.

    The text of the exception does not repeat `name`.
    """
    row = rows.get(name) if isinstance(name, str) else None
    if row is None:
        message = f"no such design; there are {', '.join(rows)}"
        raise UnknownDesign(message)
    return row.name
