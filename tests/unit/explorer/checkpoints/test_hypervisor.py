"""Checkpoints of the Hypervisor: every field is told, restored and comparable."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from pef_explorer.checkpoints.hypervisor import HvSpares, checkpoint, restore, restore_gate
from pef_hypervisor.designs import DESIGNS
from pef_hypervisor.dispatch import Hypervisor
from pef_hypervisor.gfn.columns import BUSY, VmSlot
from pef_hypervisor.outcome import Errno, Outcome
from pef_hypervisor.state import Vm
from pef_protocol.designs import Design
from pef_protocol.identity import Incarnation, InstanceId
from pef_protocol.quantities import Lpid, gfn_of
from pef_protocol.states import HvGfnState, HvVmState

PLUGGED = 1


def fixture() -> HypervisorUnderTest:
    """Return a Hypervisor whose VM has two slots, one of them written to."""
    world = HypervisorUnderTest()
    assert world.plug(PLUGGED, 40, 3).errno is Errno.OK
    assert world.write(2, b"content").errno is Errno.OK
    return world


def vm_of(hv: Hypervisor) -> Vm:
    """Return the one VM."""
    return hv.store.vms[1]


def slot_of(hv: Hypervisor) -> VmSlot:
    """Return slot 0."""
    slot = vm_of(hv).slots.get(0)
    assert slot is not None
    return slot


def unplug(hv: Hypervisor) -> None:
    """Take slot 0 away, and its claim."""
    slot = slot_of(hv)
    vm_of(hv).slots.remove(slot)
    hv.store.memory.vacate(slot)


ANOTHER = Incarnation(InstanceId("f" * 32), 9)


def another_vm(hv: Hypervisor) -> None:
    """Put another VM in."""
    hv.store.vms[7] = Vm(Lpid(7), DESIGNS[Design.EAGER], secure_guest=True, radix=True, incarnation=ANOTHER)


CHANGES: dict[str, Callable[[Hypervisor], object]] = {
    "held pages": lambda hv: hv.store.pool.take(2),
    "reserved pages": lambda hv: setattr(hv.store.pool, "reserved", 2),
    "leaving pages": lambda hv: setattr(hv.store.pool, "leaving", 2),
    "a claim": lambda hv: hv.store.memory.claim(3),
    "a VM in the making": lambda hv: hv.store.in_the_making.add(9),
    "the design": lambda hv: setattr(vm_of(hv), "design", DESIGNS[Design.EAGER]),
    "its leave to be secure": lambda hv: setattr(vm_of(hv), "secure_guest", False),
    "its incarnation": lambda hv: setattr(vm_of(hv), "incarnation", ANOTHER),
    "a freed lpid": lambda hv: hv.store.free_lpid(Lpid(9)),
    "incarnations minted": lambda hv: hv.store.new_incarnation(),
    "radix": lambda hv: setattr(vm_of(hv), "radix", False),
    "the VM's state": lambda hv: setattr(vm_of(hv), "state", HvVmState.SECURE),
    "must abort": lambda hv: setattr(vm_of(hv), "must_abort", True),
    "abort due": lambda hv: setattr(vm_of(hv), "abort_due", True),
    "must reset": lambda hv: setattr(vm_of(hv), "must_reset", True),
    "its SVM": lambda hv: setattr(vm_of(hv), "svm_incarnation", ANOTHER),
    "the next SVM": lambda hv: setattr(vm_of(hv), "next_svm", ANOTHER),
    "open calls": lambda hv: restore_gate(vm_of(hv).gate, (2, "", "")),
    "a slot being added": lambda hv: restore_gate(vm_of(hv).gate, (1, "add a slot", "")),
    "a reset": lambda hv: restore_gate(vm_of(hv).gate, (1, "", "reset")),
    "a registration": lambda hv: setattr(slot_of(hv), "registered", True),
    "a slot's place": lambda hv: setattr(slot_of(hv), "base", 1 << 33),
    "a state": lambda hv: slot_of(hv).state.fill(HvGfnState.SHARED),
    "a mark": lambda hv: slot_of(hv).mark(np.array([2]), BUSY),
    "a slot gone": unplug,
    "the VM gone": lambda hv: hv.store.vms.clear(),
    "another VM": another_vm,
}


@pytest.mark.parametrize("kept", [True, False], ids=["spares kept", "no spares"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_each_part_is_told_and_restored(change: Callable[[Hypervisor], object], *, kept: bool) -> None:
    hv = fixture().hv
    spares = HvSpares() if kept else None
    before = checkpoint(hv)
    restore(hv, before, spares)
    assert checkpoint(hv) == before
    change(hv)
    assert checkpoint(hv) != before
    restore(hv, before, spares)
    assert checkpoint(hv) == before
    assert hv.invariants() == []


def test_a_restored_side_goes_on_where_it_was() -> None:
    world = fixture()
    before = checkpoint(world.hv)
    assert world.plug(2, 80, 4).errno is Errno.OK
    after = checkpoint(world.hv)
    restore(world.hv, before)
    assert isinstance(world.read(80), Outcome)
    assert world.plug(2, 80, 4).errno is Errno.OK
    assert checkpoint(world.hv) == after
    assert world.read(2, 7) == b"content"


def test_spares_give_the_same_slots_back() -> None:
    world, spares = fixture(), HvSpares()
    before = checkpoint(world.hv)
    restore(world.hv, before, spares)
    slot = slot_of(world.hv)
    assert world.unplug(0).errno is Errno.OK
    restore(world.hv, before, spares)
    assert slot_of(world.hv) is slot


def test_a_slot_of_another_place_is_another_slot() -> None:
    world, other = HypervisorUnderTest(pages=4), HypervisorUnderTest(pages=8)
    restore(other.hv, checkpoint(world.hv))
    assert checkpoint(other.hv) == checkpoint(world.hv)
    assert slot_of(other.hv).end == gfn_of(0) + 4


def test_a_checkpoint_is_a_value() -> None:
    before = checkpoint(fixture().hv)
    assert before == checkpoint(fixture().hv)
    assert hash(before) == hash(checkpoint(fixture().hv))
    assert pickle.loads(pickle.dumps(before)) == before  # noqa: S301 - our own bytes


def test_no_byte_of_normal_memory_is_in_it_or_changed_by_it() -> None:
    world = fixture()
    before = checkpoint(world.hv)
    assert b"content" not in pickle.dumps(before)
    assert world.write(2, b"CHANGED").errno is Errno.OK
    assert checkpoint(world.hv) == before
    restore(world.hv, before)
    assert world.read(2, 7) == b"CHANGED"
