"""A store of a normal VM: refused where, and ended when, a load is.

Source: specification of the Hypervisor, section 3, "start VM".
"""

from pef_hypervisor.checks import Refused, find_accessible, why_access_refused
from pef_hypervisor.normal_memory import copy_in
from pef_hypervisor.state import Store, Vm
from pef_kit.core.effects import Operation
from pef_kit.core.lease import leased
from pef_protocol.quantities import Gpa, Lpid


def store_bytes(store: Store, lpid: Lpid, gpa: Gpa, content: bytes) -> Operation[Refused | None]:
    """Write `content` from guest address `gpa`."""
    # parameters
    vm = store.vm(lpid)

    # checks
    if why := why_access_refused(vm):
        return Refused(why, gpa)

    # effect
    with vm.gate.admitted() as turn:
        refused = yield from leased(_store(store, vm, gpa, content), vm.life, turn)

    # reply
    return refused


def _store(store: Store, vm: Vm, gpa: Gpa, content: bytes) -> Operation[Refused | None]:
    found = yield from find_accessible(vm, gpa, len(content))
    if isinstance(found, Refused):
        return found
    yield from copy_in(store.memory, store.pool, found, gpa, content)
    return None
