"""The GFNs of a step and their states, and what is observed of a VM at rest."""

import numpy as np

from pef_explorer.invariants.transition_tables import HV_WORDS, STATES, UV_WORDS
from pef_explorer.world.observation import ABSENT
from pef_explorer.world.step import Step
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.gfn.columns import BUSY, VmSlot
from pef_lab.at_rest import VmAtRest
from pef_protocol.designs import DesignName
from pef_protocol.quantities import Lpid
from pef_protocol.states import HvVmState, UvVmState
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.gfn.columns import IN_FLIGHT, FrameSlot
from pef_ultravisor.state import Ultravisor


def gfns(step: Step) -> range:
    """Return the GFNs of both slots."""
    return range(step.world.plan.pages)


def state(column: bytes, gfn: int) -> S | None:
    """Return the Ultravisor's state of a GFN in a column, or None."""
    return STATES[column[gfn]]


def rest_after(step: Step) -> VmAtRest:
    """Return what both sides show of the VM after a step that leaves no call open."""
    seen, named = step.after, gfns(step)
    return VmAtRest(
        HvVmState(seen.hv_vm[0]).name,
        UvVmState(seen.uv_vm[0]).name if seen.uv_vm else "no SVM",
        {gfn: (HV_WORDS[seen.hv[gfn]], UV_WORDS[seen.uv[gfn]]) for gfn in named},
        step.world.plan.design,
        [gfn for gfn in named if seen.hv_marks[gfn] & BUSY or seen.uv_marks[gfn] & IN_FLIGHT],
    )


def rest_of(uv: Ultravisor, hv: Hypervisor, lpid: int, design: DesignName) -> VmAtRest:
    """Return what two machines show of a VM that either has, while no call on it is open."""
    vm, svm = hv.store.vms.get(Lpid(lpid)), uv.svm(Lpid(lpid))
    own, other, in_flight = dict[int, int](), dict[int, int](), set[int]()
    for slot in vm.slots if vm else ():
        own.update(zip(range(slot.first, slot.end), slot.state.tolist(), strict=True))
        in_flight |= _bearing(slot, BUSY)
    for frame_slot in svm.slots if svm else ():
        other.update(zip(range(frame_slot.first, frame_slot.end), frame_slot.state.tolist(), strict=True))
        in_flight |= _bearing(frame_slot, IN_FLIGHT)
    return VmAtRest(
        vm.state.name if vm else "no VM",
        svm.state.name if svm else "no SVM",
        {gfn: (HV_WORDS[own.get(gfn, ABSENT)], UV_WORDS[other.get(gfn, ABSENT)]) for gfn in own | other},
        design,
        in_flight,
    )


def _bearing(slot: VmSlot | FrameSlot, mark: int) -> set[int]:
    """Return the GFNs of a slot that bear a mark."""
    return {slot.first + at for at in np.flatnonzero(slot.marked(slice(None), mark)).tolist()}
