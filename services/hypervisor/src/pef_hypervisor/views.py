"""What the observer sees of this side: VMs, and GFN states as runs. Never the contents of a page."""

from typing import Any, TypeAlias

import numpy as np

from pef_hypervisor.gfn.columns import BUSY, VmSlot
from pef_hypervisor.state import Store
from pef_kit.core.effects import Operation
from pef_kit.core.parts import copied
from pef_kit.runtime.gauges import Measured
from pef_protocol.quantities import PAGE_SIZE, Lpid, gpa_of
from pef_protocol.states import HvGfnState, HvVmState


def vms(store: Store) -> dict[str, Any]:
    """Return all VMs with their slots, and the pool of device pages (pages)."""
    return {
        "vms": [
            {
                "lpid": vm.lpid,
                "state": vm.state.name,
                "design": vm.design.name,
                "gfns": vm.slots.gfns,
                "slots": [
                    {"slotid": slot.slot_id, "first": slot.first, "count": slot.count} for slot in vm.slots
                ],
                "column_bytes": sum(slot.column_bytes for slot in vm.slots),
            }
            for _, vm in sorted(store.vms.items())
        ],
        "pool": {"size": store.pool.size, "used": store.pool.used},
    }


def measured(store: Store) -> Measured:
    """Return what this side holds now: a device page for each page of secure memory, and VMs."""
    return Measured(store.pool.used, store.pool.size, [vm.state for vm in store.vms.values()], HvVmState)


def design_of(store: Store, lpid: int) -> str:
    """Return the design of a VM; empty where there is none of this lpid."""
    vm = store.vms.get(Lpid(lpid))
    return vm.design.name if vm else ""


def vmm_list(store: Store) -> dict[str, Any]:
    """Return all VMs as their VMM lists them; slots in bytes."""
    return {
        "vms": [
            {
                "lpid": vm.lpid,
                "incarnation": str(vm.incarnation),
                "design": vm.design.name,
                "state": vm.state.name,
                "slots": [
                    {"slotid": slot.slot_id, "gpa": gpa_of(slot.first), "size": slot.count * PAGE_SIZE}
                    for slot in vm.slots
                ],
            }
            for _, vm in sorted(store.vms.items())
        ]
    }


States: TypeAlias = tuple[int, list[VmSlot]]
"""An lpid, and copies of the slots of that VM."""


def states_of(store: Store, lpid: int) -> Operation[States]:
    """Copy the slots of a VM, part by part: each part of a large one is of a moment of its own."""
    vm = store.vms.get(lpid)
    return lpid, (yield from copied(vm.slots if vm else ()))


def gfns(states: States) -> dict[str, Any]:
    """Return the GFN states of a VM; of one that is not there, no slots."""
    lpid, slots = states
    return {"lpid": lpid, "slots": [_states(slot) for slot in slots]}


def _states(slot: VmSlot) -> dict[str, Any]:
    firsts, counts = slot.runs()
    return {
        "slotid": slot.slot_id,
        "first": slot.first,
        "count": slot.count,
        "states": [
            [slot.first + first, count, HvGfnState(state).name]
            for first, count, state in zip(
                firsts.tolist(), counts.tolist(), slot.state[firsts].tolist(), strict=True
            )
        ],
        "moving": sum(int(np.count_nonzero(slot.marked(block, BUSY))) for block in slot.blocks()),
    }
