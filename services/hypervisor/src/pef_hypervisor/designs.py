"""What each design is on this side: one row of data, what the Hypervisor does with pages nobody asked for.

| design | unmigrated pages at H_SVM_INIT_DONE | states |
|---|---|---|
| `eager`, `broken` | nothing: it trusts that every GFN was asked for, which under `broken` is not so | 2 |
| `tracked` | become secure without a UV_PAGE_IN (Linux 5.9) | 4 |
| `tracked-pagein` | are moved by a real UV_PAGE_IN | 4 |
| `pushed` | are sent by UV_PAGE_IN; the Ultravisor knows the shared ones and refuses those | 2 |
| `pushed-fixed` | as `pushed`, and H_SVM_INIT_ABORT asks for each page that stands in for a secure one | 2 |

When exactly the Ultravisor refuses a shared page is its own business: to this side all variants of `pushed`
are alike.

A design from outside gives its row as `hypervisor` (`pef_kit.core.designs`).
"""

from dataclasses import dataclass, field, replace
from typing import Final

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
from pef_kit.core.designs import registered
from pef_protocol.codes import UCode
from pef_protocol.designs import Design, DesignName
from pef_protocol.states import HvGfnState

PART: Final = "hypervisor"
FOUR_STATES: Final = frozenset(HvGfnState)
TWO_STATES: Final = frozenset({HvGfnState.NORMAL, HvGfnState.SECURE})


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
    resident: frozenset[UCode] = frozenset()
    """Codes of UV_PAGE_IN that say that the page is in secure memory already, which is as good as success.

    Default: none, for U_P2 says that, or that the page is shared. A code of its own for "shared" leaves U_P2
    with one meaning; thought of here, not in the thread."""
    page_in_flags: int = 0
    """Flags of a UV_PAGE_IN by which a page is to be secure.

    Default: none, as in the kernel. A bit of intent is thought of here."""
    serves_faults: bool = False
    """The Ultravisor reflects a guest's fault on an invalidated page; a flag of H_SVM_PAGE_IN says so.

    The page is sent by UV_PAGE_IN and stays what it is here, as in the kernel's fault handler. Default: the
    Ultravisor asks for the page instead."""
    table: GfnTable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", GfnTable(HvGfnState, GfnEvent, cells_of(self.states, self.cells)))


_SENT: Final[GfnCells] = {GfnEvent.INIT_DONE: {N: to(S, GfnAction.PAGE_IN)}}
_EAGER: Final = DesignRow(
    Design.EAGER,
    {GfnEvent.INIT_DONE: STAY, GfnEvent.PLUG: STAY},
    TWO_STATES,
    plugged_visible=False,
)
_PUSHED: Final = DesignRow(Design.PUSHED, _SENT, TWO_STATES, leaves=frozenset({UCode.U_P2, UCode.U_RETRY}))

BUILT_IN: Final[tuple[DesignRow, ...]] = (
    _EAGER,
    replace(_EAGER, name=Design.BROKEN),
    DesignRow(Design.TRACKED),
    DesignRow(Design.TRACKED_PAGEIN, _SENT),
    _PUSHED,
    replace(_PUSHED, name=Design.PUSHED_VALID),
    replace(_PUSHED, name=Design.PUSHED_INVALIDATED),
    replace(_PUSHED, name=Design.PUSHED_ALWAYS),
    replace(_PUSHED, name=Design.PUSHED_UNASKED),
    replace(
        _PUSHED,
        name=Design.PUSHED_FIXED,
        cells={**_SENT, GfnEvent.INIT_ABORT: {N: to(N, GfnAction.RESTORE_STAND_IN)}},
        plugged_secure=True,
    ),
)

DESIGNS: Final = registered(BUILT_IN, PART, DesignRow)
"""All designs by name. Order: last, for a design from outside imports this module."""
