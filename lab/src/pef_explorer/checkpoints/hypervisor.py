"""Checkpoints of the Hypervisor: its whole state but the bytes of pages, as one plain value.

A checkpoint is tuples of numbers, strings and bytes: it can be compared, hashed and pickled. It may be
taken at any moment. In the middle of calls it has the marks that these have set.

Not in it: what normal memory holds. It stays as it is; the caller of `restore` puts back every page that has
changed since. Nor that a call has all of a slot in flight. A slot that an open call keeps to itself until the
Ultravisor knows it shows by its claim only.

Order: restore only where no operation of the machine is alive. A suspended one must be closed before,
for what it does at its end would be done to the restored state.
"""

from typing import Final, NamedTuple, TypeAlias

from pef_explorer.checkpoints.slots import hold
from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.gfn.columns import VmSlot
from pef_hypervisor.state import Gate, Store, Vm
from pef_kit.core.life import Life
from pef_protocol.identity import Incarnation
from pef_protocol.quantities import Gfn, Lpid, RealAddress, SlotId
from pef_protocol.states import HvVmState

STATES: Final = tuple(HvVmState)


GateRecord: TypeAlias = tuple[int, str, str]
"""How many operations are open, the name of the exclusive one, and of the one that lets nobody in."""


class HvSlotRecord(NamedTuple):
    """A memory slot with its columns as bytes, one a GFN; `base` is the real address of its first page."""

    slot_id: int
    first: int
    pages: int
    base: int
    registered: bool
    state: bytes
    marks: bytes


class VmRecord(NamedTuple):
    """A VM; `slots` go by descending first GFN."""

    lpid: int
    design: str
    secure_guest: bool
    radix: bool
    incarnation: Incarnation
    state: int
    must_abort: bool
    abort_due: bool
    must_reset: bool
    svm_incarnation: Incarnation | None
    next_svm: Incarnation | None
    gate: GateRecord
    slots: tuple[HvSlotRecord, ...]


class HvCheckpoint(NamedTuple):
    """The whole side: VMs by lpid, the pool of device pages, the claims of real memory by first address."""

    vms: tuple[VmRecord, ...]
    in_the_making: tuple[int, ...]
    freed: tuple[int, ...]
    minted: int
    held: int
    reserved: int
    leaving: int
    claims: tuple[tuple[int, int], ...]


def checkpoint(hv: Hypervisor) -> HvCheckpoint:
    """Return the state of this side as a plain value."""
    store = hv.store
    pool = store.pool
    return HvCheckpoint(
        tuple([vm_record(store.vms[lpid]) for lpid in sorted(store.vms)]),
        tuple(sorted(store.in_the_making)),
        tuple(store.freed),
        store.minted,
        pool.held,
        pool.reserved,
        pool.leaving,
        tuple(sorted(store.memory._claims.items())),
    )


def restore(hv: Hypervisor, saved: HvCheckpoint, spares: "HvSpares | None" = None) -> None:
    """Put this side back, but for the bytes of normal memory; a caller that restores often keeps `spares`."""
    (HvSpares() if spares is None else spares).restore(hv.store, saved)


def vm_record(vm: Vm) -> VmRecord:
    """Return a VM as a plain value."""
    return VmRecord(
        int(vm.lpid),
        str(vm.design.name),
        vm.secure_guest,
        vm.radix,
        vm.incarnation,
        int(vm.state),
        vm.must_abort,
        vm.abort_due,
        vm.must_reset,
        vm.svm_incarnation,
        vm.next_svm,
        gate_record(vm.gate),
        tuple([slot_record(slot) for slot in vm.slots]),
    )


def gate_record(gate: Gate) -> GateRecord:
    """Return a gate as a plain value."""
    exclusive, ending = gate._exclusive, gate._ending
    return gate.open, exclusive.name if exclusive else "", ending.name if ending else ""


def restore_gate(gate: Gate, record: GateRecord) -> None:
    """Put a gate back; no operation on its VM is alive."""
    if record == gate_record(gate):
        return
    open_operations, exclusive, ending = record
    gate._turns = [Life("restored") for _ in range(open_operations)]
    gate._exclusive = Life(exclusive) if exclusive else None
    if ending == exclusive:
        gate._ending = gate._exclusive
    else:
        gate._ending = Life(ending) if ending else None


def slot_record(slot: VmSlot) -> HvSlotRecord:
    """Return a slot with its columns as a plain value."""
    return HvSlotRecord(
        slot.slot_id,
        slot.first,
        slot.count,
        int(slot.base),
        slot.registered,
        slot.state.tobytes(),
        slot.marks.tobytes(),
    )


class _HvColumns(NamedTuple):
    """A slot and views of its columns, by which they are written at once."""

    slot: VmSlot
    state: memoryview
    marks: memoryview


class HvSpares:
    """VMs and slots that a machine has had, which are used again."""

    def __init__(self) -> None:
        self._vms: dict[int, Vm] = {}
        self._slots: dict[tuple[int, int, int, int], _HvColumns] = {}

    def restore(self, store: Store, saved: HvCheckpoint) -> None:
        """Put a side back, but for the bytes of normal memory."""
        now = dict(store.vms)
        store.vms.clear()
        for record in saved.vms:
            store.vms[record.lpid] = self._vm(record, now.get(record.lpid))
        store.in_the_making.clear()
        store.in_the_making.update(saved.in_the_making)
        store.freed.clear()
        store.freed.update((Lpid(lpid), None) for lpid in saved.freed)
        store.minted = saved.minted
        store.pool.held = saved.held
        store.pool.reserved = saved.reserved
        store.pool.leaving = saved.leaving
        store.memory._claims = dict(saved.claims)

    def _vm(self, record: VmRecord, now: Vm | None) -> Vm:
        row = DESIGNS[record.design]
        vm = self._vms.get(record.lpid)
        if vm is None:
            vm = now or Vm(Lpid(record.lpid), row, record.secure_guest, record.radix, record.incarnation)
            self._vms[record.lpid] = vm
        vm.design = row
        vm.secure_guest = record.secure_guest
        vm.radix = record.radix
        vm.incarnation = record.incarnation
        vm.state = STATES[record.state]
        vm.must_abort = record.must_abort
        vm.abort_due = record.abort_due
        vm.must_reset = record.must_reset
        vm.svm_incarnation = record.svm_incarnation
        vm.next_svm = record.next_svm
        restore_gate(vm.gate, record.gate)
        if not vm.life.alive:
            vm.life = Life("the VM")
        hold(vm.slots, [self._slot(record.lpid, slot, now) for slot in record.slots])
        return vm

    def _slot(self, lpid: int, record: HvSlotRecord, now: Vm | None) -> VmSlot:
        key = lpid, record.slot_id, record.first, record.pages
        columns = self._slots.get(key)
        if columns is None:
            columns = self._slots[key] = _columns(record, now.slots.get(record.slot_id) if now else None)
        columns.slot.base = RealAddress(record.base)
        columns.slot.registered = record.registered
        columns.state[:] = record.state
        columns.marks[:] = record.marks
        columns.slot.calls_in_flight = 0
        columns.slot.whole_in_flight = False
        return columns.slot


def _columns(record: HvSlotRecord, now: VmSlot | None) -> _HvColumns:
    """Return the columns of the slot that is there `now`, if it is the record's, else of a new one."""
    slot = now
    if slot is None or (slot.first, slot.count) != (record.first, record.pages):
        slot = VmSlot(SlotId(record.slot_id), Gfn(record.first), record.pages, RealAddress(record.base))
    return _HvColumns(slot, slot.state.data, slot.marks.data)
