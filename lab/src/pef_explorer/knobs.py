"""Designs that differ from another one in one setting, a knob: they show what a verdict depends on.

| knob | what it changes | from |
|---|---|---|
| `reflects` | the Hypervisor gets a guest's fault on an invalidated page; nobody asks it | kernel, firmware |
| `unmarked` | the Ultravisor does not mark the GFN that its hypercall is about | firmware |
| `copies` | a paged-out page is copied as it comes, until the VM is secure (D12) | firmware |
| `coded` | "shared" is a code of its own, and U_P2 says that the page is resident | thought of here |
| `intent` | UV_PAGE_IN has a flag that says that the page is to be secure | thought of here |
| `scrubs` | H_SVM_INIT_ABORT scrubs what may be ciphertext, and does not ask | thought of here |
| `early` | a plugged slot is marked before it is registered | thought of here |

`scrubs` and the opposite of `early` for `pushed-fixed` are `pushed-marks` and `pushed-asks`
(`pef_explorer.half_repairs`). What each setting does, and what it is by default, stands where it is declared:
`pef_hypervisor.designs.DesignRow`, `pef_ultravisor.designs.DesignSettings`.

They are designs from outside (`pef_kit.core.designs`): `PEF_DESIGNS=tracked-copies,pushed-fixed-copies`
makes two known to services and commands. A part imports only what its own row is made of.
"""

# ruff: noqa: PLC0415 - a part imports only what its own row is made of
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pef_explorer.half_repairs import ASKS, MARKS
from pef_kit.core.designs import Row
from pef_protocol.codes import UCode
from pef_protocol.designs import Design, DesignName
from pef_protocol.quantities import U_PAGE_IN_SECURE

if TYPE_CHECKING:
    from pef_hypervisor.designs import DesignRow
    from pef_lab.known_designs import ObservedDesign
    from pef_ultravisor.designs import DesignSettings

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Knob:
    """What a knob exchanges in each side's row; `cells` makes the Hypervisor's cells from the old ones."""

    name: str
    ultravisor: Fields = field(default_factory=dict)
    hypervisor: Fields = field(default_factory=dict)
    cells: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class KnobDesign:
    """A design that is `base`, but for one knob."""

    base: Design
    knob: Knob

    @property
    def name(self) -> DesignName:
        """Return its name: that of the base, and that of the knob."""
        return DesignName(f"{self.base}-{self.knob.name}")

    @property
    def hypervisor(self) -> "DesignRow":
        """Return the Hypervisor's row of the base with the knob's fields."""
        from pef_hypervisor.designs import BUILT_IN

        row = replace(_row_of(BUILT_IN, self.base), name=self.name, **self.knob.hypervisor)
        return row if self.knob.cells is None else replace(row, cells=self.knob.cells(row.cells))

    @property
    def ultravisor(self) -> "DesignSettings":
        """Return the Ultravisor's row of the base with the knob's fields."""
        from pef_ultravisor.designs import BUILT_IN

        return replace(_row_of(BUILT_IN, self.base), name=self.name, **self.knob.ultravisor)

    @property
    def lab(self) -> "ObservedDesign":
        """Expect what is expected of the base: no knob changes how many states are kept, or what is moved."""
        from pef_lab.known_designs import BUILT_IN

        return replace(_row_of(BUILT_IN, self.base), name=self.name)


def _row_of(rows: Iterable[Row], name: Design) -> Row:
    return next(row for row in rows if row.name == name)


def _nothing_is_asked_for(cells: Any) -> Any:
    """Return cells by which H_SVM_INIT_ABORT asks for no page that stands in for a secure one."""
    from pef_hypervisor.gfn.table import GfnEvent, N, P, to

    return {**cells, GfnEvent.INIT_ABORT: {P: to(N)}}


REFLECTS: Final = Knob("reflects", {"reflects_faults": True}, {"serves_faults": True})
UNMARKED: Final = Knob("unmarked", {"marks_hypercalls": False})
COPIES: Final = Knob("copies", {"copies_until_secure": True})
CODED: Final = Knob(
    "coded",
    {"shared_code": UCode.U_PARAMETER},
    {
        "leaves": frozenset({UCode.U_PARAMETER, UCode.U_RETRY}),
        "resident": frozenset({UCode.U_P2}),
    },
)
INTENT: Final = Knob("intent", {"reads_intent": True}, {"page_in_flags": U_PAGE_IN_SECURE})
SCRUBS: Final = Knob("scrubs", cells=_nothing_is_asked_for)
EARLY: Final = Knob("early", hypervisor={"plugged_secure": True})

TRACKED_REFLECTS: Final = KnobDesign(Design.TRACKED, REFLECTS)
TRACKED_UNMARKED: Final = KnobDesign(Design.TRACKED, UNMARKED)
TRACKED_COPIES: Final = KnobDesign(Design.TRACKED, COPIES)
TRACKED_CODED: Final = KnobDesign(Design.TRACKED, CODED)
TRACKED_INTENT: Final = KnobDesign(Design.TRACKED, INTENT)
TRACKED_SCRUBS: Final = KnobDesign(Design.TRACKED, SCRUBS)
TRACKED_EARLY: Final = KnobDesign(Design.TRACKED, EARLY)
PUSHED_FIXED_REFLECTS: Final = KnobDesign(Design.PUSHED_FIXED, REFLECTS)
PUSHED_FIXED_UNMARKED: Final = KnobDesign(Design.PUSHED_FIXED, UNMARKED)
PUSHED_FIXED_COPIES: Final = KnobDesign(Design.PUSHED_FIXED, COPIES)
PUSHED_FIXED_CODED: Final = KnobDesign(Design.PUSHED_FIXED, CODED)
PUSHED_FIXED_INTENT: Final = KnobDesign(Design.PUSHED_FIXED, INTENT)
PUSHED_REFLECTS: Final = KnobDesign(Design.PUSHED, REFLECTS)
PUSHED_UNMARKED: Final = KnobDesign(Design.PUSHED, UNMARKED)
PUSHED_COPIES: Final = KnobDesign(Design.PUSHED, COPIES)
PUSHED_CODED: Final = KnobDesign(Design.PUSHED, CODED)
PUSHED_INTENT: Final = KnobDesign(Design.PUSHED, INTENT)
PUSHED_UNASKED_REFLECTS: Final = KnobDesign(Design.PUSHED_UNASKED, REFLECTS)
PUSHED_UNASKED_UNMARKED: Final = KnobDesign(Design.PUSHED_UNASKED, UNMARKED)

DESIGNS: Final = {each.name: each for each in tuple(vars().values()) if isinstance(each, KnobDesign)}
"""All of them by name, in the order of this file."""

if __name__ == "__main__":
    # What `PEF_DESIGNS` has to name for the whole table of knobs; `make knobs` asks for it.
    sys.stdout.write(",".join([ASKS.name, MARKS.name, *DESIGNS]) + "\n")
