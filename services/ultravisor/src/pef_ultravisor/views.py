"""What the observer sees of this side: VMs, and GFN states as runs. Never the contents of a page."""

from typing import Any, TypeAlias

import numpy as np

from pef_kit.core.effects import Operation
from pef_kit.core.parts import copied
from pef_kit.runtime.gauges import Measured
from pef_protocol.states import UvGfnState, UvVmState
from pef_ultravisor.gfn.columns import FrameSlot
from pef_ultravisor.state import Svm, Ultravisor


def vms(uv: Ultravisor) -> dict[str, Any]:
    """Return all VMs with their slots, and what secure memory holds (pages)."""
    lpids = sorted({*uv.pates, *uv.svms})
    pool = {"size": uv.capacity.secure_pages, "used": uv.resident}
    return {"vms": [_vm_row(lpid, uv.svm(lpid)) for lpid in lpids], "pool": pool}


def measured(uv: Ultravisor) -> Measured:
    """Return what this side holds now: pages of secure memory, and SVMs."""
    states = [UvVmState(svm.state) for svm in uv.svms.values()]
    return Measured(uv.resident, uv.capacity.secure_pages, states, UvVmState)


def design_of(uv: Ultravisor, lpid: int) -> str:
    """Return the design of the SVM that has an lpid; empty where there is none."""
    svm = uv.svm(lpid)
    return svm.design if svm else ""


def _vm_row(lpid: int, svm: Svm | None) -> dict[str, Any]:
    slots = list(svm.slots) if svm else []
    return {
        "lpid": lpid,
        "state": UvVmState(svm.state).name if svm else "NORMAL",
        "design": svm.design if svm else None,
        "gfns": svm.slots.gfns if svm else 0,
        "slots": [{"slotid": slot.slot_id, "first": slot.first, "count": slot.count} for slot in slots],
        "column_bytes": sum(slot.column_bytes for slot in slots),
    }


States: TypeAlias = tuple[int, list[FrameSlot]]
"""An lpid, and copies of the slots of that VM."""


def states_of(uv: Ultravisor, lpid: int) -> Operation[States]:
    """Copy the slots of a VM, part by part: each part of a large one is of a moment of its own."""
    svm = uv.svm(lpid)
    return lpid, (yield from copied(svm.slots if svm else ()))


def gfns(states: States) -> dict[str, Any]:
    """Return the GFN states of a VM; of one that is not there, no slots."""
    lpid, slots = states
    return {
        "lpid": lpid,
        "slots": [
            {
                "slotid": slot.slot_id,
                "first": slot.first,
                "count": slot.count,
                "states": state_runs(slot),
                "moving": sum(int(np.count_nonzero(slot.in_flight(block))) for block in slot.blocks()),
            }
            for slot in slots
        ],
    }


def state_runs(slot: FrameSlot) -> list[list[int | str]]:
    """Return the states of a slot as runs: first GFN, pages, name."""
    firsts, counts = slot.runs()
    return [
        [slot.first + first, count, UvGfnState(state).name]
        for first, count, state in zip(
            firsts.tolist(), counts.tolist(), slot.state[firsts].tolist(), strict=True
        )
    ]
