"""Another Ultravisor: every SVM is dead, every VM a normal one or to be reset, and every entry is written.

Source: rule 3 of ARCHITECTURE.md, "Identity and time".
"""

from typing import Any

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest, secured
from harness.scripted_peer import refuse
from pef_kit.core.effects import Backoff, PeerCall
from pef_kit.core.lease import Ended, Life
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE


def joined(world: HypervisorUnderTest) -> None:
    """Let hello be answered by an Ultravisor that knows nothing, and this side fit it."""
    world.uv.slots.clear()
    world.uv.pages.clear()
    world.uv.known = False
    world.uv.asked.clear()
    world.hv.store.epoch = Life("the next epoch")
    world.run(world.hv.fit_new_ultravisor())


@pytest.mark.parametrize("design", [Design.TRACKED, Design.PUSHED])
@pytest.mark.parametrize("done", [False, True], ids=["transient", "secure"])
def test_a_vm_at_rest_is_normal_and_what_was_secure_reads_as_zero(design: Design, *, done: bool) -> None:
    world = secured(design)
    if done:
        world.init_done()
    assert isinstance(world.read(1), bytes)
    world.run(world.hv.end_operations())
    joined(world)
    assert world.uv.names == ["UV_WRITE_PATE"]
    assert (world.vm.state.name, world.used, world.vm.started) == ("NORMAL", 0, False)
    assert [world.read(gfn, 5) for gfn in range(4)] == [bytes(5)] * 4
    assert world.sound()
    assert world.init_start().code.succeeded


def test_a_vm_in_which_an_operation_was_cut_off_must_be_reset() -> None:
    world = secured()
    read_now = world.start(world.hv.host_read(world.lpid, PAGE_SIZE, 8))
    assert isinstance(read_now.effect, PeerCall)
    ending = world.start(world.hv.end_operations())
    assert isinstance(ending.effect, Backoff)
    with pytest.raises(Ended):
        read_now.step()
    ending.finish()
    joined(world)
    assert world.uv.names == ["UV_WRITE_PATE"]
    assert (world.used, world.hv.invariants()) == (0, [])
    outcome: Any = world.read(1)
    assert (outcome.errno.name, world.vm.must_reset) == ("EIO", True)
    assert world.reset().errno.name == "OK"
    assert (world.read(1, 5), world.sound()) == (bytes(5), True)


def test_a_normal_vm_goes_on_while_its_entry_is_written() -> None:
    world = HypervisorUnderTest(pages=64)
    storing = world.start(world.hv.store_bytes(world.lpid, 0, b"x" * (2 << 20)))
    world.run(world.hv.end_operations())
    assert world.run(world.hv.load(world.lpid, 40 * PAGE_SIZE, 1)) == bytes(1)
    joined(world)
    assert storing.finish() is None
    assert world.run(world.hv.load(world.lpid, 0, 1)) == b"x"
    assert (world.vm.must_reset, world.sound()) == (False, True)


def test_nothing_that_needs_the_ultravisor_begins_in_between() -> None:
    world = secured()
    world.run(world.hv.end_operations())
    before = world.hv.digest()
    for operation in (
        world.hv.host_read(world.lpid, 0, 1),
        world.hv.reset(world.lpid),
        world.hv.create_vm(Design.TRACKED, secure_guest=True, radix=True),
    ):
        with pytest.raises(Ended):
            next(operation)
    assert (world.hv.digest(), world.hv.store.in_the_making) == (before, set())


def test_a_vm_whose_entry_is_refused_must_be_reset() -> None:
    world = HypervisorUnderTest()
    world.run(world.hv.end_operations())
    world.uv.answers("UV_WRITE_PATE", refuse(UCode.U_PERMISSION))
    joined(world)
    assert world.vm.must_reset
    assert world.reset().errno.name == "OK"
    assert world.uv.names[-1] == "UV_WRITE_PATE"


def test_a_vm_in_the_making_is_waited_for_and_not_made() -> None:
    world = HypervisorUnderTest()
    making = world.start(world.hv.create_vm(Design.TRACKED, secure_guest=True, radix=True))
    ending = world.start(world.hv.end_operations())
    assert isinstance(ending.effect, Backoff)
    with pytest.raises(Ended):
        making.step()
    ending.finish()
    assert list(world.hv.store.vms) == [world.lpid]
