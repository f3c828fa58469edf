"""Loads and stores of a normal VM.

A VM that is transient or secure runs under the Ultravisor; here its accesses are refused, with the reason.
An access needs no Ultravisor, so it ends with its VM only, not with the epoch.

Source: specification of the Hypervisor, section 3, "start VM".
"""

from dataclasses import dataclass
from itertools import count

from pef_hypervisor.gfn.columns import BUSY, VmSlot
from pef_hypervisor.gfn.table import VmEvent, vm_cell
from pef_hypervisor.memory.normal import copy_in, copy_out
from pef_hypervisor.state import Store, Vm
from pef_kit.columns import GfnSet
from pef_kit.core.lease import leased
from pef_kit.operations import Operation, Pause
from pef_protocol.quantities import PAGE_SIZE, gfn_of, pages_in


@dataclass(frozen=True, slots=True)
class Refused:
    """An access that does not resolve: why, and at which guest address."""

    reason: str
    gpa: int


def load(store: Store, lpid: int, gpa: int, length: int) -> Operation[bytes | Refused]:
    """Return `length` bytes from guest address `gpa`."""
    # parameters
    vm = store.vms.get(lpid)

    # checks
    if vm is None:
        return Refused("no VM", gpa)
    if why := _barred(vm):
        return Refused(why, gpa)

    # effect
    with vm.gate.admitted() as turn:
        seen = yield from leased(_load(store, vm, gpa, length), vm.life, turn)

    # reply
    return seen


def _load(store: Store, vm: Vm, gpa: int, length: int) -> Operation[bytes | Refused]:
    reached = yield from _reach(vm, gpa, length)
    if isinstance(reached, Refused):
        return reached
    return (yield from copy_out(store.memory, store.pool, reached, gpa, length))


def store_bytes(store: Store, lpid: int, gpa: int, content: bytes) -> Operation[Refused | None]:
    """Write `content` from guest address `gpa`."""
    # parameters
    vm = store.vms.get(lpid)

    # checks
    if vm is None:
        return Refused("no VM", gpa)
    if why := _barred(vm):
        return Refused(why, gpa)

    # effect
    with vm.gate.admitted() as turn:
        refused = yield from leased(_store(store, vm, gpa, content), vm.life, turn)

    # reply
    return refused


def _store(store: Store, vm: Vm, gpa: int, content: bytes) -> Operation[Refused | None]:
    reached = yield from _reach(vm, gpa, len(content))
    if isinstance(reached, Refused):
        return reached
    yield from copy_in(store.memory, store.pool, reached, gpa, content)
    return None


def _barred(vm: Vm) -> str:
    """Say why no access of the VM may begin, or ""."""
    if vm.gate.closed:
        return "busy"
    return "must be reset" if vm.must_reset else ""


def _reach(vm: Vm, gpa: int, length: int) -> Operation[list[GfnSet[VmSlot]] | Refused]:
    """Find the range in slots of a VM that runs here; wait for pages that another access has."""
    for attempt in count():
        if not vm_cell(VmEvent.START_VM, vm.state).code.succeeded:
            return Refused(vm.state.name.lower(), gpa)
        gfn_sets = vm.slots.covered(gfn_of(gpa), pages_in(gpa % PAGE_SIZE + length))
        if gfn_sets is None:
            return Refused("no slot", gpa)
        if not any(gfns.slot.marked(gfns.selection, BUSY).any() for gfns in gfn_sets):
            return gfn_sets
        if not (yield Pause(attempt)):
            break
    return Refused("busy", gpa)
