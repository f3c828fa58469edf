"""All that this side must not forget, on one object: VMs with their slots, device pages, normal memory."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from pef_hypervisor.designs import DESIGNS, DesignRow
from pef_hypervisor.gfn.columns import HOST_POPULATED, DevicePool, VmSlot
from pef_hypervisor.normal_memory import RealMemory
from pef_kit.core.columns import SlotMap
from pef_kit.core.effects import Backoff, Operation
from pef_kit.core.lease import leased
from pef_kit.core.life import Life, keep_nothing
from pef_kit.core.parts import copied
from pef_kit.core.runs import run_starts
from pef_protocol.designs import Design
from pef_protocol.identity import Incarnation, InstanceId
from pef_protocol.quantities import PAGE_SIZE, Lpid
from pef_protocol.states import HvVmState

T = TypeVar("T")

LPIDS = range(1, 4096)
"""The lpids a VM may have; 0 is the Hypervisor's own partition."""


class Gate:
    """Counts the operations of one VM that are open; each holds a turn, which its lease looks at.

    | closed by | new operations and hypercalls | new exclusive operations | operations that are open |
    |---|---|---|---|
    | add a slot, remove a slot, H_SVM_INIT_START, H_SVM_INIT_DONE | begin | are busy | go on |
    | H_SVM_INIT_ABORT | are busy | are busy, but for reset and destroy | end |
    | reset, destroy | are busy | are busy | end |

    The gate answers busy at once and queues nobody. Only the operation that closed it waits, and only for
    operations of this side on the same VM. An operation that must end makes no further try and no further
    call: its lease answers for it (`Life.ending` of its turn). Requests of the memory bus pass no gate.

    Source: rule 12 of ARCHITECTURE.md, "Identity and time".
    """

    def __init__(self) -> None:
        self._turns: list[Life] = []
        self._exclusive: Life | None = None
        self._ending: Life | None = None

    @property
    def open(self) -> int:
        """Return how many operations are open."""
        return len(self._turns)

    @property
    def closed(self) -> bool:
        """Tell whether no operation may begin."""
        return self._ending is not None

    @property
    def taken(self) -> bool:
        """Tell whether no exclusive operation may begin."""
        return self._exclusive is not None or self._ending is not None

    @property
    def ends_for_good(self) -> bool:
        """Tell whether a reset or destroy is open, which no other one overtakes."""
        return self._ending is not None and self._ending is not self._exclusive

    @contextmanager
    def admitted(self, name: str = "an operation") -> Iterator[Life]:
        """Count an operation as open. The caller has seen that the gate is not closed."""
        turn = Life(name)
        self._turns.append(turn)
        try:
            yield turn
        finally:
            self._turns.remove(turn)

    @contextmanager
    def held(self, name: str) -> Iterator[Life]:
        """Keep other exclusive operations away. The caller has seen that none is open."""
        with self.admitted(name) as turn:
            self._exclusive = turn
            try:
                yield turn
            finally:
                self._exclusive = None

    @contextmanager
    def aborting(self, name: str) -> Iterator[Life]:
        """Let nobody in, and what is open end. The caller has seen that no exclusive operation is open."""
        with self.held(name) as turn, self._closed_by(turn):
            yield turn

    @contextmanager
    def ending(self, name: str) -> Iterator[Life]:
        """Let nobody in, and what is open end, exclusive operations included; for reset and destroy."""
        with self.admitted(name) as turn, self._closed_by(turn):
            yield turn

    @contextmanager
    def _closed_by(self, turn: Life) -> Iterator[None]:
        for other in self._turns:
            other.ending = other.ending or other is not turn
        self._ending = turn
        try:
            yield
        finally:
            if self._ending is turn:
                self._ending = None

    def alone(self) -> Operation[bool]:
        """Wait until the operation that closed the gate is the only open one; return whether it is."""
        for attempt in count():
            if len(self._turns) == 1:
                return True
            again: bool = yield Backoff(attempt, ignore_deadline=True)
            if not again:
                break
        return False

    def copied(self) -> "Gate":
        """Return a gate at which the same operations are open."""
        other = Gate()
        other._turns, other._exclusive, other._ending = [*self._turns], self._exclusive, self._ending
        return other


@dataclass(slots=True)
class Vm:
    """One VM, as its owner keeps it.

    `must_abort`: its H_SVM_INIT_START failed, or its SVM was ended in part; only H_SVM_INIT_ABORT and reset
    lead on. `abort_due`: its H_SVM_INIT_START was denied, which changed nothing, so that the Ultravisor may
    yet send H_SVM_INIT_ABORT for the SVM that it had begun. `must_reset`: the outcome of a call to the
    Ultravisor can't be had, or what was begun could not be taken back; only reset and destroy lead on.
    """

    lpid: Lpid
    design: DesignRow
    secure_guest: bool
    radix: bool
    incarnation: Incarnation
    """The name of this VM's life at this side: no other VM has it, before or after."""
    state: HvVmState = HvVmState.NORMAL
    must_abort: bool = False
    abort_due: bool = False
    must_reset: bool = False
    svm_incarnation: Incarnation | None = None
    """The SVM that the last H_SVM_INIT_START was for, as the Ultravisor names it."""
    next_svm: Incarnation | None = None
    """The earliest SVM that may begin: what the lpid was when the last UV_SVM_TERMINATE was answered."""
    slots: SlotMap[VmSlot] = field(default_factory=SlotMap)
    gate: Gate = field(default_factory=Gate)
    life: Life = field(default_factory=lambda: Life("the VM"))
    """Ends with the VM."""
    in_epoch: int = 0
    """Of the open operations, those that end with the epoch."""

    def copied(self) -> Operation["Vm"]:
        """Return a copy with copies of the slots; others may act between two parts of it."""
        other = copy(self)
        other.gate = self.gate.copied()
        other.slots = SlotMap()
        for slot in (yield from copied(self.slots)):
            other.slots.add(slot)
        return other

    @property
    def started(self) -> bool:
        """Tell whether its H_SVM_INIT_START is done, and nothing ended its SVM since."""
        return self.state is not HvVmState.NORMAL and not self.must_abort

    @property
    def moving(self) -> bool:
        """Tell whether a call has a GFN of the VM in flight."""
        return any(slot.moving for slot in self.slots)


@dataclass(slots=True)
class Store:
    """The Hypervisor's memory of the world. `digest_key` (bytes) makes digests tell nothing of contents.

    `instance` names this run of this side.
    """

    memory: RealMemory
    pool: DevicePool
    digest_key: bytes
    instance: InstanceId
    vms: dict[int, Vm] = field(default_factory=dict)
    in_the_making: set[int] = field(default_factory=set)
    """Lpids of VMs whose partition-table entry is being written."""

    at_end_of: Callable[[Incarnation], None] = keep_nothing
    """Called with the incarnation of each VM that ends: for who keeps something of it."""
    freed: dict[Lpid, None] = field(default_factory=dict)
    """Lpids that VMs had, the least recently freed first."""
    lpids: range = field(default_factory=lambda: LPIDS)
    """The lpids that VMs may have."""
    minted: int = 0
    """Incarnations that were minted."""
    epoch: Life = field(default_factory=lambda: Life("the epoch"))
    """This side's time at the present Ultravisor: no operation that needs the Ultravisor outlasts it."""

    def leased(self, vm: Vm, turn: Life, operation: Operation[T]) -> Operation[T]:
        """Run an operation on `vm`, which holds `turn` at its gate, for as long as VM and epoch last."""
        vm.in_epoch += 1
        try:
            return (yield from leased(operation, vm.life, self.epoch, turn))
        finally:
            vm.in_epoch -= 1

    def vm(self, lpid: Lpid) -> Vm:
        """Return the VM of that lpid; where there is none, an absent one: its life is over.

        So the checks of a call refuse what is asked of it, in their order.
        """
        vm = self.vms.get(lpid)
        if vm is None:
            nobody = Incarnation(self.instance, 0)
            vm = Vm(lpid, DESIGNS[Design.TRACKED], secure_guest=False, radix=False, incarnation=nobody)
            vm.life.end()
        return vm

    def new_incarnation(self) -> Incarnation:
        """Mint the incarnation of a VM: one that no VM had before."""
        self.minted += 1
        return Incarnation(self.instance, self.minted)

    def take_lpid(self) -> Lpid | None:
        """Take an lpid for a VM in the making: one that no VM ever had, else the least recently freed."""
        used = self.vms.keys() | self.in_the_making | self.freed.keys()
        lpid = next((Lpid(lpid) for lpid in self.lpids if lpid not in used), next(iter(self.freed), None))
        if lpid is not None:
            self.freed.pop(lpid, None)
            self.in_the_making.add(lpid)
        return lpid

    def free_lpid(self, lpid: Lpid) -> None:
        """Note that no VM has `lpid` any more."""
        self.freed[lpid] = None

    def end(self, vm: Vm) -> None:
        """End a VM of which nothing is left."""
        del self.vms[vm.lpid]
        self.free_lpid(vm.lpid)
        vm.life.end()
        self.at_end_of(vm.incarnation)

    def copied(self) -> Operation["Store"]:
        """Return a copy of all that the digest and the invariants look at; normal memory is the same.

        Others may act between two parts of it: it is of one moment only where nobody did.
        """
        other = copy(self)
        other.pool, other.memory = copy(self.pool), self.memory.copied()
        other.vms = {}
        for lpid, vm in tuple(self.vms.items()):
            other.vms[lpid] = yield from vm.copied()
        return other

    def digest(self) -> str:
        """Return a keyed hash (hex) of all state, contents of normal memory included."""
        digest = hashlib.blake2b(key=self.digest_key, digest_size=32)
        digest.update(repr((self.pool.size, self.pool.held)).encode())
        for lpid in sorted(self.vms):
            vm = self.vms[lpid]
            flags = vm.secure_guest, vm.radix, vm.must_abort, vm.must_reset
            digest.update(repr((vm.lpid, vm.design.name, vm.state.name, flags)).encode())
            for slot in vm.slots:
                slot.digest_into(digest)
                digest.update(repr((slot.base, slot.registered)).encode())
                for offsets in slot.where(HOST_POPULATED):
                    firsts, counts = run_starts(len(offsets), (offsets, 1))
                    for ra, pages in zip(
                        slot.real_addresses(offsets[firsts]).tolist(), counts.tolist(), strict=True
                    ):
                        digest.update(self.memory.bytes.at(ra, pages * PAGE_SIZE))
        return digest.hexdigest()
