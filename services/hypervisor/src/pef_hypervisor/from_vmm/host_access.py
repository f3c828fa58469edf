"""The host reads or writes guest memory: what it touches of a secure page comes out encrypted.

Source: specification of the Hypervisor, section 4, "host (VMM) touches the page".
"""

from itertools import count

from pef_hypervisor.gfn.columns import BUSY, VmSlot, picked
from pef_hypervisor.gfn.table import GfnAction, GfnEvent
from pef_hypervisor.memory.normal import copy_in, copy_out
from pef_hypervisor.outcome import DONE, Errno, Outcome, barred, no_vm
from pef_hypervisor.state import Store, Vm
from pef_hypervisor.to_ultravisor.paging import Part, page_out
from pef_kit.columns import GfnSet
from pef_kit.operations import Operation, Pause
from pef_kit.spans import among
from pef_protocol.quantities import PAGE_SIZE, gfn_of, pages_in

BUS_ERROR = "bus error"


def host_read(store: Store, lpid: int, gpa: int, length: int) -> Operation[Outcome | bytes]:
    """Return `length` bytes from guest address `gpa`, as the host sees them; EFAULT outside all slots."""
    # parameters
    vm = store.vms.get(lpid)

    # checks
    if vm is None:
        return no_vm(lpid)
    if why := barred(vm):
        return why

    # effect
    with vm.gate.admitted() as turn:
        outcome = yield from store.leased(vm, turn, _read(store, vm, gpa, length))

    # reply
    return outcome


def _read(store: Store, vm: Vm, gpa: int, length: int) -> Operation[Outcome | bytes]:
    reached = yield from _reach(store, vm, gpa, length)
    if isinstance(reached, Outcome):
        return reached
    return (yield from copy_out(store.memory, store.pool, reached, gpa, length))


def host_write(store: Store, lpid: int, gpa: int, content: bytes) -> Operation[Outcome]:
    """Write `content` from guest address `gpa`; on a paged-out page it falls on the encrypted bytes."""
    # parameters
    vm = store.vms.get(lpid)

    # checks
    if vm is None:
        return no_vm(lpid)
    if why := barred(vm):
        return why

    # effect
    with vm.gate.admitted() as turn:
        outcome = yield from store.leased(vm, turn, _write(store, vm, gpa, content))

    # reply
    return outcome


def _write(store: Store, vm: Vm, gpa: int, content: bytes) -> Operation[Outcome]:
    reached = yield from _reach(store, vm, gpa, len(content))
    if isinstance(reached, Outcome):
        return reached
    yield from copy_in(store.memory, store.pool, reached, gpa, content)
    return DONE


def _reach(store: Store, vm: Vm, gpa: int, length: int) -> Operation[Outcome | list[GfnSet[VmSlot]]]:
    """Bring the range to where the host can touch it: page secure pages out, wait for those in flight."""
    first, pages = gfn_of(gpa), pages_in(gpa % PAGE_SIZE + length)
    for attempt in count():
        gfn_sets = vm.slots.covered(first, pages)
        if gfn_sets is None:
            return Outcome(Errno.EFAULT, "the range is not all in slots")
        moving = any(gfns.slot.marked(gfns.selection, BUSY).any() for gfns in gfn_sets)
        if not moving:
            parts = [_secure_part(vm, gfns) for gfns in gfn_sets]
            if not any(len(part.offsets) for part in parts):
                return gfn_sets
            flight = yield from page_out(store, vm, parts)
            if refused := flight.detail():
                errno = Errno.EBUSY if flight.obstacle.busy else Errno.EIO
                return Outcome(errno, refused if errno is Errno.EBUSY else f"{BUS_ERROR}: {refused}")
        # What is out may be in again by now; the first look after it needs no pause.
        if (moving or attempt) and not (yield Pause(attempt)):
            break
    return Outcome(Errno.EBUSY, "pages of the range are in flight")


def _secure_part(vm: Vm, gfns: GfnSet[VmSlot]) -> Part:
    """Return those GFNs of a set that must come out before the host touches them."""
    touched = vm.rules.table.judge(GfnEvent.HOST_TOUCH, gfns.slot.state[gfns.selection])
    out = among(touched.does, GfnAction.PAGE_OUT)
    return Part(gfns.slot, picked(gfns, out), touched.then[out])
