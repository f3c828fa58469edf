"""A load of a normal VM.

A VM that is transient or secure runs under the Ultravisor; here its accesses are refused, with the reason.
An access needs no Ultravisor, so it ends with its VM only, not with the epoch.

Source: specification of the Hypervisor, section 3, "start VM".
"""

from pef_hypervisor.checks import Refused, find_accessible, why_access_refused
from pef_hypervisor.normal_memory import copy_out
from pef_hypervisor.state import Store, Vm
from pef_kit.core.effects import Operation
from pef_kit.core.lease import leased
from pef_protocol.quantities import Gpa, Lpid


def load(store: Store, lpid: Lpid, gpa: Gpa, length: int) -> Operation[bytes | Refused]:
    """Return `length` bytes from guest address `gpa`."""
    # parameters
    vm = store.vm(lpid)

    # checks
    if why := why_access_refused(vm):
        return Refused(why, gpa)

    # effect
    with vm.gate.admitted() as turn:
        seen = yield from leased(_load(store, vm, gpa, length), vm.life, turn)

    # reply
    return seen


def _load(store: Store, vm: Vm, gpa: Gpa, length: int) -> Operation[bytes | Refused]:
    found = yield from find_accessible(vm, gpa, length)
    if isinstance(found, Refused):
        return found
    return (yield from copy_out(store.memory, store.pool, found, gpa, length))
