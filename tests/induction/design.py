"""What the rules are made of: the transition tables and the settings of both sides, for one design."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

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


def tables_of(name: DesignName) -> Tables:
    """Return the tables of a design."""
    row = HV_DESIGNS[name]
    return Tables(GFN.cells, row.table.cells, VM_TABLE.cells, UV_DESIGNS[name], row)
