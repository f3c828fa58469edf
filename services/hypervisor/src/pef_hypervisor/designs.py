"""The designs of the 2020 discussion, one row each: what the Hypervisor does with pages nobody asked for.

| design | unmigrated pages at H_SVM_INIT_DONE | states |
|---|---|---|
| `eager`, `broken` | nothing: it trusts that every GFN was asked for, which under `broken` is not so | 2 |
| `tracked` | become secure without a UV_PAGE_IN (Linux 5.9) | 4 |
| `tracked-pagein` | are moved by a real UV_PAGE_IN | 4 |
| `pushed` | are sent by UV_PAGE_IN; the Ultravisor knows the shared ones and refuses those | 2 |
| `pushed-fixed` | as `pushed`, and H_SVM_INIT_ABORT asks for each page that stands in for a secure one | 2 |

When exactly the Ultravisor refuses a shared page is its own business: to this side all variants of `pushed`
are alike.

A design from outside is an entry point of the group `pef.designs`: an object whose attribute `hypervisor` is
a `DesignRow`, and whose attribute `ultravisor` is the other side's row. It is looked for only where
the environment variable `PEF_DESIGNS` names it (names separated by commas).
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Final, NewType

from pef_hypervisor.gfn.table import (
    STAY,
    GfnAction,
    GfnCells,
    GfnEvent,
    GfnTable,
    N,
    S,
    cells_of,
    to,
)
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.states import HvGfnState

DesignName = NewType("DesignName", str)
"""The name of a registered design."""

GROUP: Final = "pef.designs"
NAMED_BY: Final = "PEF_DESIGNS"
FOUR_STATES: Final = frozenset(HvGfnState)
TWO_STATES: Final = frozenset({HvGfnState.NORMAL, HvGfnState.SECURE})


class UnknownDesign(LookupError):
    """A design that `PEF_DESIGNS` names, and that there is not, or not as a row of this side."""


@dataclass(frozen=True, slots=True)
class DesignRow:
    """What a design is to the Hypervisor: data, never code.

    `cells` are those in which it differs from `FOUR_STATES_CELLS`. `table` is made of them.
    """

    name: DesignName
    cells: GfnCells = field(default_factory=dict, repr=False)
    states: frozenset[HvGfnState] = FOUR_STATES
    """Those that it keeps of a GFN."""
    plugged_visible: bool = True
    """H_SVM_PAGE_IN may reach a slot while its UV_REGISTER_MEM_SLOT is outstanding."""
    plugged_secure: bool = False
    """The GFNs of a plugged slot are treated before the Ultravisor hears of it, rather than after: two states
    can't tell a page that was shared meanwhile from one that nobody touched."""
    leaves: frozenset[UCode] = frozenset()
    """Codes of UV_PAGE_IN with which an unmigrated GFN stays as it is, and H_SVM_INIT_DONE goes on."""
    table: GfnTable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", GfnTable(HvGfnState, GfnEvent, cells_of(self.states, self.cells)))


_SENT: Final[GfnCells] = {GfnEvent.INIT_DONE: {N: to(S, GfnAction.PAGE_IN)}}
_EAGER: Final = DesignRow(
    DesignName(Design.EAGER.value),
    {GfnEvent.INIT_DONE: STAY, GfnEvent.PLUG: STAY},
    TWO_STATES,
    plugged_visible=False,
)
_PUSHED: Final = DesignRow(
    DesignName(Design.PUSHED.value), _SENT, TWO_STATES, leaves=frozenset({UCode.U_P2, UCode.U_RETRY})
)

BUILT_IN: Final[tuple[DesignRow, ...]] = (
    _EAGER,
    replace(_EAGER, name=DesignName(Design.BROKEN.value)),
    DesignRow(DesignName(Design.TRACKED.value)),
    DesignRow(DesignName(Design.TRACKED_PAGEIN.value), _SENT),
    _PUSHED,
    replace(_PUSHED, name=DesignName(Design.PUSHED_VALID.value)),
    replace(_PUSHED, name=DesignName(Design.PUSHED_INVALIDATED.value)),
    replace(_PUSHED, name=DesignName(Design.PUSHED_ALWAYS.value)),
    replace(_PUSHED, name=DesignName(Design.PUSHED_UNASKED.value)),
    replace(
        _PUSHED,
        name=DesignName(Design.PUSHED_FIXED.value),
        cells={**_SENT, GfnEvent.INIT_ABORT: {N: to(N, GfnAction.RESTORE_STAND_IN)}},
        plugged_secure=True,
    ),
)


def load_designs(names: Iterable[str]) -> Mapping[DesignName, DesignRow]:
    """Return the rows of the designs from outside that `names` names.

    Raise UnknownDesign where no entry point has the name, or where it gives no row of that name.
    """
    loaded: dict[DesignName, DesignRow] = {}
    for name in names:
        found = tuple(entry_points(group=GROUP, name=name))
        row = getattr(found[0].load(), "hypervisor", None) if found else None
        if not isinstance(row, DesignRow) or row.name != name:
            message = f"{NAMED_BY} names {name}: no entry point of {GROUP} gives a row of that name"
            raise UnknownDesign(message)
        loaded[row.name] = row
    return loaded


def designs_named(names: str) -> Mapping[str, DesignRow]:
    """Return all designs by name: those of the discussion, and those that `names` (with commas) adds."""
    outside = load_designs(name.strip() for name in names.split(",") if name.strip())
    return MappingProxyType({str(row.name): row for row in (*BUILT_IN, *outside.values())})


DESIGNS: Final = designs_named(os.environ.get(NAMED_BY, ""))
"""All designs by name. Order: last, for a design from outside imports this module."""
