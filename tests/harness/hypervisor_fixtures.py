"""A Hypervisor in process with one VM, the scripted Ultravisor beside it, and operations driven by hand."""

from typing import Any, Final, TypeVar

from harness.held import Held
from harness.scripted_peer import checked
from harness.scripted_ultravisor import ScriptedUltravisor
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.gfn.columns import VmSlot
from pef_hypervisor.outcome import Errno, Outcome
from pef_hypervisor.state import Vm
from pef_kit.core.effects import MAX_ATTEMPTS, Backoff, Effect, Offload, Operation, PeerCall
from pef_kit.runtime.bus import NormalMemory
from pef_protocol.calls import Reply
from pef_protocol.designs import Design, DesignName
from pef_protocol.http import Caller, Role
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart, SvmPageIn, SvmPageOut
from pef_protocol.identity import instance_of
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Lpid, PageOrder
from pef_protocol.runs import PageRuns
from pef_protocol.states import HvGfnState

T = TypeVar("T")

ULTRAVISOR: Final = Caller(Role.ULTRAVISOR)


class HypervisorUnderTest:
    """A Hypervisor with one VM of `pages` GFNs in slot 0, and the Ultravisor that it asks."""

    def __init__(
        self,
        design: DesignName = Design.TRACKED,
        *,
        pages: int = 16,
        device_pages: int = 64,
        secure_guest: bool = True,
        radix: bool = True,
    ) -> None:
        self.memory = NormalMemory.unshared(1024 * PAGE_SIZE)
        self.uv = ScriptedUltravisor(self.memory)
        self.hv = Hypervisor(
            self.memory, device_pages=device_pages, digest_key=b"key", instance=instance_of(bytes(16))
        )
        self.pauses = 0
        made = self.run(self.hv.create_vm(design, secure_guest=secure_guest, radix=radix))
        assert made.errno is Errno.OK, made
        self.lpid = Lpid(made.outputs["lpid"])
        self.plug(0, 0, pages)
        self.uv.asked.clear()

    # Driving

    def perform(self, effect: Effect) -> Any:
        """Perform one effect; raise PeerFailure where the script says so."""
        match effect:
            case PeerCall():
                return self.uv.answer(effect)
            case Offload(run):
                return run()
            case Backoff(attempt):
                # A patient pause ends too, as where its lease is over: tests hold what it waits for.
                self.pauses += 1
                return attempt < MAX_ATTEMPTS - 1
        message = f"the Hypervisor never yields {effect}"
        raise AssertionError(message)

    def run(self, operation: Operation[T]) -> T:
        """Run an operation to its end."""
        return self.start(operation).finish()

    def start(self, operation: Operation[T]) -> Held[T]:
        """Return an operation that stands before its first effect."""
        return Held(self.perform, operation)

    # What may be asked

    def call(self, name: str, request: object, caller: Caller = ULTRAVISOR) -> Reply:
        """Make a hypercall, and check that the answer is one that it may have."""
        return checked(name, self.run(self.hv.hypercall(caller, name, request)))

    def page_in(self, *runs: tuple[int, int], flags: int = 0, order: int = PAGE_ORDER) -> Reply:
        """Call H_SVM_PAGE_IN for runs of (GFN, pages)."""
        return self.call("H_SVM_PAGE_IN", self.paging_in(*runs, flags=flags, order=order))

    def paging_in(self, *runs: tuple[int, int], flags: int = 0, order: int = PAGE_ORDER) -> SvmPageIn:
        """Return the request of H_SVM_PAGE_IN for runs of (GFN, pages)."""
        return SvmPageIn(self.lpid, gfn_runs(*runs), flags, PageOrder(order))

    def share(self, *runs: tuple[int, int]) -> Reply:
        """Call H_SVM_PAGE_IN to share runs of (GFN, pages)."""
        self.uv.sharing = True
        try:
            return self.page_in(*runs, flags=1)
        finally:
            self.uv.sharing = False

    def page_out(self, *runs: tuple[int, int], flags: int = 0, order: int = PAGE_ORDER) -> Reply:
        """Call H_SVM_PAGE_OUT for runs of (GFN, pages)."""
        return self.call("H_SVM_PAGE_OUT", self.paging_out(*runs, flags=flags, order=order))

    def paging_out(self, *runs: tuple[int, int], flags: int = 0, order: int = PAGE_ORDER) -> SvmPageOut:
        """Return the request of H_SVM_PAGE_OUT for runs of (GFN, pages)."""
        return SvmPageOut(self.lpid, gfn_runs(*runs), flags, PageOrder(order))

    def init_start(self) -> Reply:
        """Call H_SVM_INIT_START."""
        return self.call("H_SVM_INIT_START", SvmInitStart(self.lpid))

    def init_done(self) -> Reply:
        """Call H_SVM_INIT_DONE."""
        return self.call("H_SVM_INIT_DONE", SvmInitDone(self.lpid))

    def init_abort(self) -> Reply:
        """Call H_SVM_INIT_ABORT, as the Ultravisor does: it gives clear text from then on."""
        self.uv.aborted = True
        return self.call("H_SVM_INIT_ABORT", SvmInitAbort(self.lpid))

    def plug(self, slot_id: int, first: int, pages: int) -> Outcome:
        """Add a slot of `pages` GFNs from `first`."""
        return self.run(self.hv.add_slot(self.lpid, slot_id, first * PAGE_SIZE, pages * PAGE_SIZE))

    def unplug(self, slot_id: int) -> Outcome:
        """Remove a slot."""
        return self.run(self.hv.remove_slot(self.lpid, slot_id))

    def write(self, gfn: int, content: bytes) -> Outcome:
        """Write as the host, from the start of a GFN."""
        return self.run(self.hv.host_write(self.lpid, gfn * PAGE_SIZE, content))

    def read(self, gfn: int, length: int = 8) -> bytes | Outcome:
        """Read as the host, from the start of a GFN."""
        return self.run(self.hv.host_read(self.lpid, gfn * PAGE_SIZE, length))

    def unmap(self, gfn: int, count: int = 1) -> Outcome:
        """Unmap pages as the host."""
        return self.run(self.hv.unmap(self.lpid, gfn * PAGE_SIZE, count))

    def reset(self) -> Outcome:
        """Reset the VM."""
        return self.run(self.hv.reset(self.lpid))

    # What can be seen

    @property
    def vm(self) -> Vm:
        """Return the VM's record."""
        return self.hv.store.vms[self.lpid]

    @property
    def slot(self) -> VmSlot:
        """Return slot 0."""
        slot = self.vm.slots.get(0)
        assert slot is not None
        return slot

    def states(self, slot_id: int = 0) -> str:
        """Return a letter for each GFN of a slot: N, S, P or H."""
        slot = self.vm.slots.get(slot_id)
        assert slot is not None
        return "".join("NSPH"[state] for state in slot.state.tolist())

    def state(self, gfn: int = 0) -> HvGfnState:
        """Return the state of a GFN of slot 0."""
        return HvGfnState(int(self.slot.state[gfn]))

    @property
    def used(self) -> int:
        """Return how many device pages are in use."""
        return self.hv.store.pool.used

    def normal_page(self, gfn: int) -> bytes:
        """Return the bytes of the normal page of a GFN of slot 0, without any call."""
        return bytes(self.memory.at(self.slot.base + gfn * PAGE_SIZE, PAGE_SIZE))

    def sound(self) -> bool:
        """Check that no invariant is broken and nothing is left in flight."""
        assert self.hv.invariants() == []
        assert not self.vm.moving
        assert self.vm.gate.open == 0
        return True


def secured(design: Design = Design.TRACKED, *, device_pages: int = 64) -> HypervisorUnderTest:
    """Return a transient VM whose GFNs 0 to 3 were imported."""
    world = HypervisorUnderTest(design, device_pages=device_pages)
    for gfn in range(4):
        world.write(gfn, b"GFN %d" % gfn)
    world.init_start()
    world.page_in((0, 4))
    world.uv.asked.clear()
    return world


def gfn_runs(*runs: tuple[int, int]) -> PageRuns:
    """Return runs of (GFN, pages) as page runs."""
    return PageRuns.of(*((gfn << PAGE_ORDER, count) for gfn, count in runs))


def refused(reply: Reply) -> list[tuple[int, int, str]]:
    """Return the refused runs of a hypercall's reply as (GFN, pages, name of the code)."""
    return [
        (gpa >> PAGE_ORDER, count, type(reply.code)(code).name) for gpa, count, code in reply.refused.coded()
    ]
