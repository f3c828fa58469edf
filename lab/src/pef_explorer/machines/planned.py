"""Both machines with VMs that are made as a plan says: what search and simulation have in common."""

from abc import ABC

from pef_explorer.machines.pair import Pair
from pef_explorer.machines.small_memory import HeapMemory
from pef_explorer.plan import Plan
from pef_hypervisor.outcome import Errno, Outcome
from pef_kit.core.effects import Operation
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid


class PlannedPair(Pair[HeapMemory], ABC):
    """Both machines, and `plan`: the design of each VM, and its slots."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        super().__init__()

    def make_vm(self) -> Operation[Outcome]:
        """Create a VM with slot 0."""
        made = yield from self.hv.create_vm(self.plan.design, secure_guest=True, radix=True)
        if made.errno is not Errno.OK:
            return made
        size = len(self.plan.image) * PAGE_SIZE
        return (yield from self.hv.add_slot(made.outputs["lpid"], 0, 0, size))

    def replace_vm(self, lpid: Lpid) -> Operation[Outcome]:
        """Destroy a VM, and give its lpid to another one."""
        ended = yield from self.hv.destroy(lpid)
        return ended if ended.errno is not Errno.OK else (yield from self.make_vm())

    def page_of(self, lpid: int, gfn: int) -> int | None:
        """Return which page of normal memory belongs to a GFN as the Hypervisor keeps it, or None."""
        vm = self.hv.store.vms.get(Lpid(lpid))
        slot = vm.slots.holding(gfn) if vm else None
        return None if slot is None else (slot.base - NORMAL_BASE >> PAGE_ORDER) + gfn - slot.first
