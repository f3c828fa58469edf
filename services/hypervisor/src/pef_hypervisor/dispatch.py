"""The Hypervisor as one object: which operation answers which call, under which lease.

Every operation is a plain generator (see `pef_kit.core.effects`). Nothing here awaits, knows HTTP, draws a
random number or reads a clock, so the same object runs in a service, in a test and under an explorer.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pef_hypervisor import invariants, views
from pef_hypervisor.another_ultravisor import end_operations, fit_new_ultravisor
from pef_hypervisor.checks import Refused, require_meant
from pef_hypervisor.from_guest.load import load
from pef_hypervisor.from_guest.store import store_bytes
from pef_hypervisor.from_ultravisor.svm_init_abort import svm_init_abort
from pef_hypervisor.from_ultravisor.svm_init_done import svm_init_done
from pef_hypervisor.from_ultravisor.svm_init_start import svm_init_start
from pef_hypervisor.from_ultravisor.svm_page_in import svm_page_in
from pef_hypervisor.from_ultravisor.svm_page_out import svm_page_out
from pef_hypervisor.from_vmm.add_slot import add_slot
from pef_hypervisor.from_vmm.create_vm import create_vm
from pef_hypervisor.from_vmm.destroy import destroy
from pef_hypervisor.from_vmm.host_read import host_read
from pef_hypervisor.from_vmm.host_write import host_write
from pef_hypervisor.from_vmm.remove_slot import remove_slot
from pef_hypervisor.from_vmm.reset import reset
from pef_hypervisor.from_vmm.unmap import unmap
from pef_hypervisor.gfn.columns import DevicePool
from pef_hypervisor.normal_memory import RealMemory
from pef_hypervisor.outcome import Outcome
from pef_hypervisor.state import Store
from pef_kit.core.effects import Operation
from pef_kit.core.lease import leased
from pef_kit.runtime.bus import NormalMemory
from pef_protocol.calls import HYPERCALLS, Reply
from pef_protocol.codes import HCode
from pef_protocol.designs import DesignName
from pef_protocol.http import Caller
from pef_protocol.identity import Incarnation, InstanceId
from pef_protocol.quantities import Gpa, Lpid, SlotId

HANDLERS: Final[Mapping[str, Callable[[Store, Caller, Any], Operation[Reply]]]] = {
    "H_SVM_INIT_START": svm_init_start,
    "H_SVM_INIT_DONE": svm_init_done,
    "H_SVM_INIT_ABORT": svm_init_abort,
    "H_SVM_PAGE_IN": svm_page_in,
    "H_SVM_PAGE_OUT": svm_page_out,
}
assert HANDLERS.keys() == {call.name for call in HYPERCALLS}  # noqa: S101 - at import, as tables are checked


class Hypervisor:
    """This side, whole: its store, and what may be asked of it. Numbers from outside get their units here.

    `device_pages` (pages) bounds what all VMs hold as secure; `digest_key` (bytes) keys the digest;
    `instance` names this run of this side.
    """

    def __init__(
        self, memory: NormalMemory, *, device_pages: int, digest_key: bytes, instance: InstanceId
    ) -> None:
        self.store = Store(RealMemory(memory), DevicePool(device_pages), digest_key, instance)

    def hypercall(self, caller: Caller, name: str, request: Any) -> Operation[Reply]:
        """Answer hypercall `name`; one that there is not is H_FUNCTION.

        Raise OtherIncarnation where it means another SVM, and Ended where its epoch ends: nothing more is
        done then.
        """
        handler = HANDLERS.get(name)
        if handler is None:
            return Reply(HCode.H_FUNCTION, detail=f"{name} is not a hypercall")
        vm = self.store.vms.get(request.lpid)
        if vm is not None:
            require_meant(vm, caller, starts=name == "H_SVM_INIT_START")
        return (yield from handler(self.store, caller, request))

    def create_vm(self, design: DesignName, *, secure_guest: bool, radix: bool) -> Operation[Outcome]:
        """Create a VM of the design of that name; its lpid is an output."""
        return create_vm(self.store, design, secure_guest=secure_guest, radix=radix)

    def add_slot(self, lpid: int, slot_id: int, gpa: int, size: int) -> Operation[Outcome]:
        """Add a memory slot of `size` bytes at guest address `gpa`."""
        return add_slot(self.store, Lpid(lpid), SlotId(slot_id), Gpa(gpa), size)

    def remove_slot(self, lpid: int, slot_id: int) -> Operation[Outcome]:
        """Remove a memory slot."""
        return remove_slot(self.store, Lpid(lpid), SlotId(slot_id))

    def host_read(self, lpid: int, gpa: int, length: int) -> Operation[Outcome | bytes]:
        """Read `length` bytes of guest memory as the host."""
        return host_read(self.store, Lpid(lpid), Gpa(gpa), length)

    def host_write(self, lpid: int, gpa: int, content: bytes) -> Operation[Outcome]:
        """Write guest memory as the host."""
        return host_write(self.store, Lpid(lpid), Gpa(gpa), content)

    def unmap(self, lpid: int, gpa: int, count: int) -> Operation[Outcome]:
        """Take `count` normal pages from guest address `gpa` away from the guest."""
        return unmap(self.store, Lpid(lpid), Gpa(gpa), count)

    def reset(self, lpid: int) -> Operation[Outcome]:
        """Reset a VM: it is a normal one afterwards."""
        return reset(self.store, Lpid(lpid))

    def destroy(self, lpid: int) -> Operation[Outcome]:
        """Destroy a VM."""
        return destroy(self.store, Lpid(lpid))

    def load(self, lpid: int, gpa: int, length: int) -> Operation[bytes | Refused]:
        """Load `length` bytes as normal VM `lpid`."""
        return load(self.store, Lpid(lpid), Gpa(gpa), length)

    def store_bytes(self, lpid: int, gpa: int, content: bytes) -> Operation[Refused | None]:
        """Store bytes as normal VM `lpid`."""
        return store_bytes(self.store, Lpid(lpid), Gpa(gpa), content)

    def end_operations(self) -> Operation[None]:
        """End every operation at its next effect, and wait for all of them: the Ultravisor is another."""
        return end_operations(self.store)

    def fit_new_ultravisor(self) -> Operation[None]:
        """Make every VM a normal one, and write its entry: no SVM of an earlier epoch lives."""
        return leased(fit_new_ultravisor(self.store), self.store.epoch)

    def incarnation_of(self, lpid: int) -> Incarnation | None:
        """Return the incarnation of the VM that has `lpid` now, or None."""
        vm = self.store.vms.get(Lpid(lpid))
        return None if vm is None else vm.incarnation

    def digest(self) -> str:
        """Return a keyed hash (hex) of all that this side must not forget."""
        return self.store.digest()

    def invariants(self) -> list[str]:
        """Return a sentence for each invariant that is broken."""
        return invariants.broken(self.store)

    def vms(self) -> dict[str, Any]:
        """Return the observer's view of all VMs."""
        return views.vms(self.store)

    def vmm_list(self) -> dict[str, Any]:
        """Return the VMM's list of all VMs."""
        return views.vmm_list(self.store)
