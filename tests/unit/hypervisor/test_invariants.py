"""The invariants notice columns that were corrupted, each by the sentence of the right one; and the views."""

from collections.abc import Callable

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from pef_hypervisor import invariants
from pef_hypervisor.gfn.columns import BUSY, HOST_POPULATED, SENT, STAND_IN, VmSlot
from pef_protocol.designs import Design
from pef_protocol.quantities import Gfn, RealAddress, SlotId
from pef_protocol.states import HvVmState


def started(design: Design = Design.TRACKED) -> HypervisorUnderTest:
    """Return a transient VM with S, P, H and N."""
    world = HypervisorUnderTest(design)
    world.init_start()
    world.page_in((0, 2))
    world.page_out((1, 1))
    world.share((2, 1))
    return world


def set_state(gfn: int, state: int) -> Callable[[HypervisorUnderTest], None]:
    """Return a corruption of the state column."""

    def corrupt(world: HypervisorUnderTest) -> None:
        world.slot.state[gfn] = state

    return corrupt


def mark(gfn: int, bit: int) -> Callable[[HypervisorUnderTest], None]:
    """Return a corruption of the marks."""
    return lambda world: world.slot.mark(slice(gfn, gfn + 1), bit)


def unmark(gfn: int, bit: int) -> Callable[[HypervisorUnderTest], None]:
    """Return another corruption of the marks."""
    return lambda world: world.slot.unmark(slice(gfn, gfn + 1), bit)


def be_normal(world: HypervisorUnderTest) -> None:
    """Forget that the VM is transient."""
    world.vm.state = HvVmState.NORMAL


def second_slot(first: int) -> Callable[[HypervisorUnderTest], None]:
    """Return the corruption of having slot 0 twice in one place of real memory."""

    def corrupt(world: HypervisorUnderTest) -> None:
        slot = VmSlot(SlotId(0), Gfn(first), 16, world.slot.base)
        slot.registered = True
        world.vm.slots.add(slot)

    return corrupt


CORRUPTIONS: dict[str, tuple[Callable[[HypervisorUnderTest], object], str]] = {
    "unknown state": (set_state(9, 7), "slot 0 of VM 1: a GFN is in a state that tracked does not keep"),
    "lost secure page": (set_state(0, 0), "1 device pages are held for 0 secure GFNs"),
    "gained secure page": (set_state(9, 1), "1 device pages are held for 2 secure GFNs"),
    "secure and touched": (mark(0, HOST_POPULATED), "slot 0 of VM 1: a secure GFN still has a normal page"),
    "secure and replaced": (mark(0, STAND_IN), "slot 0 of VM 1: a secure GFN still has a normal page"),
    "paged out, no page": (
        unmark(1, HOST_POPULATED),
        "slot 0 of VM 1: a GFN that the host has the bytes of has no normal page",
    ),
    "shared, no page": (
        unmark(2, HOST_POPULATED),
        "slot 0 of VM 1: a GFN that the host has the bytes of has no normal page",
    ),
    "mark left behind": (mark(5, BUSY), "slot 0 of VM 1: a GFN is in flight for no call"),
    "normal and carried": (
        lambda world: (world.reset(), mark(5, SENT)(world)),
        "slot 0 of VM 1: a GFN of a normal VM is not plain",
    ),
    "normal and registered": (be_normal, "slot 0 of VM 1: registered, but the VM is normal"),
    "not registered": (
        lambda world: setattr(world.slot, "registered", False),
        "slot 0 of VM 1: the VM is TRANSIENT, but the slot is not registered",
    ),
    "reservation left behind": (
        lambda world: setattr(world.hv.store.pool, "reserved", 2),
        "2 device pages are reserved for no call",
    ),
    "pool overdrawn": (
        lambda world: setattr(world.hv.store.pool, "size", 0),
        "of 0 device pages 1 are held and 0 reserved",
    ),
    "elsewhere": (
        lambda world: setattr(world.slot, "base", RealAddress(world.slot.base + 65536)),
        "slot 0 of VM 1: its range of normal memory is not its own",
    ),
    "wrong lpid": (lambda world: world.hv.store.vms.update({7: world.vm}), "VM 1 is filed as 7"),
    "overlap": (second_slot(8), "slots 0 and 0 of VM 1 overlap"),
    "one id twice": (second_slot(100), "VM 1 has two slots of one id"),
    "one place twice": (second_slot(100), "two slots have one range of normal memory"),
    "claims overlap": (
        lambda world: world.hv.store.memory._claims.update({world.slot.base + 65536: 65536}),
        "two ranges of normal memory overlap at 0x100010000",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_noticed(name: str) -> None:
    corrupt, sentence = CORRUPTIONS[name]
    world = started()
    assert world.hv.invariants() == []
    corrupt(world)
    assert sentence in world.hv.invariants()


def test_every_invariant_can_fail() -> None:
    failed = set()
    for corrupt, _ in CORRUPTIONS.values():
        world = started()
        corrupt(world)
        failed |= {check for check in invariants.INVARIANTS if list(check(world.hv.store))}
    assert failed == set(invariants.INVARIANTS)


@pytest.mark.parametrize("design", [Design.EAGER, Design.PUSHED])
def test_two_states_may_not_hold_a_third(design: Design) -> None:
    world = started(design)
    world.slot.state[3] = 3
    assert world.hv.invariants()[0] == f"slot 0 of VM 1: a GFN is in a state that {design} does not keep"


def test_the_digest_knows_contents_and_states_but_not_the_same_world_twice() -> None:
    one, two = started(), started()
    assert one.hv.digest() == two.hv.digest()
    one.write(9, b"x")
    assert one.hv.digest() != two.hv.digest()
    two.write(9, b"y")
    assert one.hv.digest() != two.hv.digest()
    two.write(9, b"x")
    assert one.hv.digest() == two.hv.digest()
    one.unplug(0)
    assert one.hv.digest() != two.hv.digest()
