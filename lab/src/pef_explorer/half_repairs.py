"""The two halves of the repair `pushed-fixed`, each alone: which of them is needed, and against what.

| design | H_SVM_INIT_ABORT | a plugged slot |
|---|---|---|
| `pushed` | scrubs what may be ciphertext | is marked once its registration was answered |
| `pushed-asks` | asks the Ultravisor for each such page | is marked once its registration was answered |
| `pushed-marks` | scrubs what may be ciphertext | is marked before it is registered |
| `pushed-fixed` | asks the Ultravisor for each such page | is marked before it is registered |

They are designs from outside (`pef_kit.core.designs`): `PEF_DESIGNS=pushed-asks,pushed-marks` makes
them known to services and commands. A part imports only what its own row is made of.
"""

# ruff: noqa: PLC0415 - a part imports only what its own row is made of
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pef_protocol.designs import Design, DesignName

if TYPE_CHECKING:
    from pef_hypervisor.designs import DesignRow
    from pef_lab.known_designs import ObservedDesign
    from pef_ultravisor.designs import DesignSettings


@dataclass(frozen=True, slots=True)
class HalfRepair:
    """A design that is `pushed`, but for what it has of `pushed-fixed`."""

    name: DesignName
    asks: bool = False
    marks: bool = False

    @property
    def hypervisor(self) -> "DesignRow":
        """Take the cells of `pushed-fixed` where it asks, and its order where it marks first."""
        from pef_hypervisor.designs import BUILT_IN

        rows = {row.name: row for row in BUILT_IN}
        pushed, fixed = rows[Design.PUSHED], rows[Design.PUSHED_FIXED]
        return replace(
            pushed,
            name=self.name,
            cells=fixed.cells if self.asks else pushed.cells,
            plugged_secure=fixed.plugged_secure if self.marks else pushed.plugged_secure,
        )

    @property
    def ultravisor(self) -> "DesignSettings":
        """Refuse shared pages as `pushed` and `pushed-fixed` have it: to the Ultravisor they are the same."""
        from pef_ultravisor.designs import BUILT_IN

        return replace(next(row for row in BUILT_IN if row.name == Design.PUSHED), name=self.name)

    @property
    def lab(self) -> "ObservedDesign":
        """Expect what is expected of `pushed`."""
        from pef_lab.known_designs import BUILT_IN

        return replace(next(row for row in BUILT_IN if row.name == Design.PUSHED), name=self.name)


ASKS: Final = HalfRepair(DesignName("pushed-asks"), asks=True)
MARKS: Final = HalfRepair(DesignName("pushed-marks"), marks=True)
