"""An observation of both machines: their columns, their counts, and the first bytes of every page.

Nothing here asks a machine for a verdict.
"""

from typing import Final, NamedTuple

from pef_explorer.checkpoints.hypervisor import GateRecord, gate_record
from pef_explorer.machines.small_memory import KNOWN_BYTES
from pef_explorer.machines.system import LPID, System, known_of
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.quantities import PAGE_ORDER, Gfn
from pef_protocol.states import HvVmState, UvVmState

ABSENT: Final = 0xFF
"""The state of a GFN in no slot of that side."""
NO_VM: Final = (int(HvVmState.NORMAL), False, False, False, None)
"""The `hv_vm` of an observation without a VM."""


class Observation(NamedTuple):
    """What stands in both machines; the columns have an element a GFN of both slots.

    `mapped`: the normal page that backs the GFN, from 1, or 0. `recorded`: whether there is a sealing record.
    `used`: IVs used. `named`: whether a Hypervisor that has begun an SVM would name the one that there is.
    `normal`, `frames`: the bytes by which the pages are known.
    """

    hv_vm: tuple[int, bool, bool, bool, GateRecord | None]
    pool: tuple[int, int, int, int]
    uv_vm: tuple[int, bool, bool, int] | None
    reserved: int
    hv: bytes
    hv_marks: bytes
    registered: tuple[bool, ...]
    uv: bytes
    uv_marks: bytes
    mapped: tuple[int, ...]
    recorded: tuple[bool, ...]
    generation: int
    used: int
    named: bool
    normal: tuple[bytes, ...]
    frames: tuple[bytes, ...]

    @property
    def aborted(self) -> bool:
        """Tell whether there is an SVM, and it is aborted."""
        return self.uv_vm is not None and self.uv_vm[0] == UvVmState.ABORT


def observe(system: System) -> Observation:
    """Look at both machines."""
    plan, hv = system.plan, system.hv.store
    vm, pool = system.vm, hv.pool
    plug = plan.plug
    hv_state = hv_marks = b""
    registered: tuple[bool, ...] = ()
    for slot in reversed(tuple(vm.slots)) if vm else ():
        hv_state += slot.state.tobytes()
        hv_marks += slot.marks.tobytes()
        registered += (slot.registered,)
    absent = plan.pages - len(hv_state)
    hv_state += bytes([ABSENT]) * absent
    hv_marks += bytes(absent)
    pages = system.memory.known.tobytes()
    svm = system.svm
    uv_vm, used = None, 0
    uv_state, uv_marks = bytes([ABSENT]) * plan.pages, bytes(plan.pages)
    mapped: tuple[int, ...] = (0,) * plan.pages
    recorded: tuple[bool, ...] = (False,) * plan.pages
    frames: tuple[bytes, ...] = (b"",) * plan.pages
    if svm is not None:
        uv_vm, used = (int(svm.state), svm.done_outstanding, svm.whole, svm.open_calls), svm.sealer.used
        uv_state, uv_marks, places, counters, known = b"", b"", [], [], []
        slots = {slot.first: slot for slot in svm.slots}
        for gfn, count in ((0, len(plan.image)), (len(plan.image), plug)):
            frame_slot = slots.get(Gfn(gfn))
            if frame_slot is None:
                uv_state, uv_marks = uv_state + bytes([ABSENT]) * count, uv_marks + bytes(count)
                places += [0] * count
                counters += [0] * count
                known += [b""] * count
                continue
            uv_state += frame_slot.state.tobytes()
            uv_marks += frame_slot.marks.tobytes()
            places += frame_slot.normal.tolist()
            counters += frame_slot.counter.tolist()
            rows = known_of(frame_slot).tobytes()
            known += [rows[at : at + KNOWN_BYTES] for at in range(0, len(rows), KNOWN_BYTES)]
        mapped = tuple((ra - NORMAL_BASE >> PAGE_ORDER) + 1 if ra else 0 for ra in places)
        recorded = tuple(counter != 0 for counter in counters)
        frames = tuple(known)
    begun = vm is not None and (vm.abort_due or vm.state is not HvVmState.NORMAL)
    return Observation(
        (int(vm.state), vm.must_abort, vm.abort_due, vm.must_reset, gate_record(vm.gate)) if vm else NO_VM,
        (pool.held, pool.reserved, pool.leaving, len(hv.memory.claims)),
        uv_vm,
        system.uv.reserved,
        hv_state,
        hv_marks,
        registered,
        uv_state,
        uv_marks,
        mapped,
        recorded,
        system.generation,
        used,
        vm is not None and begun and vm.svm_incarnation == system.uv.incarnation_of(LPID),
        tuple(pages[at : at + KNOWN_BYTES] for at in range(0, len(pages), KNOWN_BYTES)),
        frames,
    )
