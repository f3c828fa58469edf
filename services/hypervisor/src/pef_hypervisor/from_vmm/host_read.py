"""The host reads guest memory: what it reads of a secure page comes out encrypted.

Source: specification of the Hypervisor, section 4, "host (VMM) touches the page".
"""

from pef_hypervisor.memory.host_access import fetch_for_host
from pef_hypervisor.normal_memory import copy_out
from pef_hypervisor.outcome import Outcome, barred, no_vm
from pef_hypervisor.state import Store, Vm
from pef_kit.core.effects import Operation
from pef_protocol.quantities import Gpa, Lpid


def host_read(store: Store, lpid: Lpid, gpa: Gpa, length: int) -> Operation[Outcome | bytes]:
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


def _read(store: Store, vm: Vm, gpa: Gpa, length: int) -> Operation[Outcome | bytes]:
    fetched = yield from fetch_for_host(store, vm, gpa, length)
    if isinstance(fetched, Outcome):
        return fetched
    return (yield from copy_out(store.memory, store.pool, fetched, gpa, length))
