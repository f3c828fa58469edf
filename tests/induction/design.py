"""What the rules are made of: the transition tables and the settings of both sides, for one design."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from pef_hypervisor.designs import DESIGNS as HV_DESIGNS
from pef_hypervisor.designs import DesignRow
from pef_hypervisor.gfn.table import VM_TABLE, GfnCell, GfnEvent, VmCell, VmEvent
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState, HvVmState, UvGfnState
from pef_ultravisor.designs import DESIGNS as UV_DESIGNS
from pef_ultravisor.designs import DesignSettings
from pef_ultravisor.gfn.table import GFN, Event
from pef_ultravisor.gfn.table import GfnCell as UvCell


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of both sides as they stand in the services, and each side's row of the design."""

    uv: Mapping[Event, Mapping[UvGfnState, UvCell]]
    hv: Mapping[GfnEvent, Mapping[HvGfnState, GfnCell]]
    vm: Mapping[VmEvent, Mapping[HvVmState, VmCell]]
    settings: DesignSettings
    row: DesignRow

    def with_uv_cell(self, event: Event, state: UvGfnState, cell: UvCell) -> "Tables":
        """Return tables in which one cell of the Ultravisor's is another one."""
        return replace(self, uv={**self.uv, event: {**self.uv[event], state: cell}})

    def with_hv_cell(self, event: GfnEvent, state: HvGfnState, cell: GfnCell) -> "Tables":
        """Return tables in which one cell of the Hypervisor's is another one."""
        return replace(self, hv={**self.hv, event: {**self.hv[event], state: cell}})


NOT_IN_THE_RULES: Final = (
    "reflects_faults",
    "marks_hypercalls",
    "copies_until_secure",
    "shared_code",
    "reads_intent",
    "resident",
    "page_in_flags",
    "serves_faults",
)
"""Settings of either side that the rules take to be as they are by default."""


def tables_of(name: DesignName) -> Tables:
    """Return the tables of a design; raise ValueError where it has a setting that the rules do not know."""
    row, settings = HV_DESIGNS[name], UV_DESIGNS[name]
    both = [(each, field) for each in (row, settings) for field in fields(each)]
    for each, field in both:
        if field.name in NOT_IN_THE_RULES and getattr(each, field.name) != field.default:
            message = f"{name}: the rules do not know its {field.name}"
            raise ValueError(message)
    return Tables(GFN.cells, row.table.cells, VM_TABLE.cells, settings, row)
