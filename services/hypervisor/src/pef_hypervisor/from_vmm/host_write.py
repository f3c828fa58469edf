"""The host writes guest memory: on a secure page it falls on the encrypted bytes.

Source: specification of the Hypervisor, section 4, "host (VMM) touches the page".
"""

from pef_hypervisor.memory.host_access import fetch_for_host
from pef_hypervisor.normal_memory import copy_in
from pef_hypervisor.outcome import DONE, Outcome, barred, no_vm
from pef_hypervisor.state import Store, Vm
from pef_kit.core.effects import Operation
from pef_protocol.quantities import Gpa, Lpid


def host_write(store: Store, lpid: Lpid, gpa: Gpa, content: bytes) -> Operation[Outcome]:
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


def _write(store: Store, vm: Vm, gpa: Gpa, content: bytes) -> Operation[Outcome]:
    fetched = yield from fetch_for_host(store, vm, gpa, len(content))
    if isinstance(fetched, Outcome):
        return fetched
    yield from copy_in(store.memory, store.pool, fetched, gpa, content)
    return DONE
