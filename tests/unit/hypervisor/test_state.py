"""The gate of a VM: who may begin, who must end, and that nothing of a VM outlives it.

Source: rules 10 and 12 of ARCHITECTURE.md, "Identity and time".
"""

from collections.abc import Callable
from typing import Any, Final

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest, secured
from harness.scripted_peer import refuse
from pef_hypervisor.outcome import Outcome
from pef_kit.core.effects import Backoff, Offload, Operation, PeerCall
from pef_kit.core.lease import Ended
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone
from pef_protocol.quantities import PAGE_SIZE

Begin = Callable[[HypervisorUnderTest], Operation[Any]]

LARGE: Final = bytes(2 << 20)

EXCLUSIVE: Final[dict[str, Begin]] = {
    "add a slot": lambda world: world.hv.add_slot(world.lpid, 1, 64 * PAGE_SIZE, PAGE_SIZE),
    "remove a slot": lambda world: world.hv.remove_slot(world.lpid, 0),
    "H_SVM_INIT_DONE": lambda world: world.hv.hypercall(
        ULTRAVISOR, "H_SVM_INIT_DONE", SvmInitDone(world.lpid)
    ),
    "H_SVM_INIT_ABORT": lambda world: world.hv.hypercall(
        ULTRAVISOR, "H_SVM_INIT_ABORT", SvmInitAbort(world.lpid)
    ),
}
ORDINARY: Final[dict[str, Begin]] = {
    "H_SVM_PAGE_IN": lambda world: world.hv.hypercall(ULTRAVISOR, "H_SVM_PAGE_IN", world.paging_in((4, 1))),
    "H_SVM_PAGE_OUT": lambda world: world.hv.hypercall(
        ULTRAVISOR, "H_SVM_PAGE_OUT", world.paging_out((0, 1))
    ),
    "host read": lambda world: world.hv.host_read(world.lpid, 0, 8),
    "host write": lambda world: world.hv.host_write(world.lpid, 0, b"x"),
    "unmap": lambda world: world.hv.unmap(world.lpid, 0, 1),
    "load": lambda world: world.hv.load(world.lpid, 0, 8),
    "store": lambda world: world.hv.store_bytes(world.lpid, 0, b"x"),
}
FOR_GOOD: Final[dict[str, Begin]] = {
    "reset": lambda world: world.hv.reset(world.lpid),
    "destroy": lambda world: world.hv.destroy(world.lpid),
}


def is_busy(outcome: Any) -> bool:
    """Tell whether an operation of any kind ended with busy."""
    if isinstance(outcome, Reply):
        return outcome.code.name == "H_BUSY"
    return outcome.errno.name == "EBUSY" if isinstance(outcome, Outcome) else outcome.reason == "busy"


def page_out_under_way(world: HypervisorUnderTest) -> Any:
    """Return a host's read that waits for its UV_PAGE_OUT."""
    read_now = world.start(world.hv.host_read(world.lpid, 2 * PAGE_SIZE, 8))
    assert isinstance(read_now.effect, PeerCall)
    return read_now


@pytest.mark.parametrize(
    "begin", (EXCLUSIVE | ORDINARY | FOR_GOOD).values(), ids=EXCLUSIVE | ORDINARY | FOR_GOOD
)
@pytest.mark.parametrize("end", FOR_GOOD.values(), ids=FOR_GOOD)
def test_nothing_begins_while_a_vm_is_reset_or_destroyed(end: Begin, begin: Begin) -> None:
    world = secured()
    ending = world.start(end(world))
    assert isinstance(ending.effect, PeerCall)
    assert is_busy(world.run(begin(world)))


@pytest.mark.parametrize("begin", EXCLUSIVE.values(), ids=EXCLUSIVE)
@pytest.mark.parametrize("end", FOR_GOOD.values(), ids=FOR_GOOD)
def test_reset_and_destroy_come_next_after_an_exclusive_operation_that_never_ends(
    end: Begin, begin: Begin
) -> None:
    world = secured(Design.TRACKED_PAGEIN)
    world.write(6, b"left over")
    world.uv.aborted = begin is EXCLUSIVE["H_SVM_INIT_ABORT"]
    if begin is EXCLUSIVE["remove a slot"]:  # of a transient VM it is asked for once
        world.init_done()
    for name in ("UV_REGISTER_MEM_SLOT", "UV_UNREGISTER_MEM_SLOT", "UV_PAGE_IN", "UV_PAGE_OUT"):
        world.uv.answers(name, *[refuse(UCode.U_BUSY)] * 3)
    starving = world.start(begin(world))
    starving.step()
    ending = world.start(end(world))
    assert isinstance(ending.effect, Backoff)
    asked = len(world.uv.asked)
    outcome = starving.finish()
    assert len(world.uv.asked) == asked
    assert is_busy(outcome) or outcome.code.name == "H_STATE"
    world.uv.script.clear()
    assert ending.finish().errno.name == "OK"
    assert world.hv.invariants() == []


@pytest.mark.parametrize("end", FOR_GOOD.values(), ids=FOR_GOOD)
def test_what_was_sent_before_is_waited_for(end: Begin) -> None:
    world = secured()
    read_now = page_out_under_way(world)
    ending = world.start(end(world))
    assert isinstance(ending.effect, Backoff)
    assert isinstance(read_now.finish(), bytes)
    assert ending.finish().errno.name == "OK"
    assert world.hv.invariants() == []


def test_a_reset_that_may_not_wait_any_longer_changes_nothing() -> None:
    world = secured()
    read_now = page_out_under_way(world)
    before = world.hv.digest()
    assert (world.reset().errno.name, world.hv.digest()) == ("EBUSY", before)
    assert (world.page_in((5, 1)).code.name, len(read_now.finish())) == ("H_SUCCESS", 8)
    assert world.sound()


def test_hypercalls_are_served_while_a_slot_is_added() -> None:
    world = secured()
    plugging = world.start(EXCLUSIVE["add a slot"](world))
    assert isinstance(plugging.effect, PeerCall)
    assert world.page_in((5, 1)).code.succeeded
    assert is_busy(world.unplug(0))
    assert plugging.finish().errno.name == "OK"
    assert world.sound()


def test_a_large_store_beside_destroy_is_waited_for_and_never_lands_in_the_next_vm() -> None:
    world = HypervisorUnderTest(pages=64)
    storing = world.start(world.hv.store_bytes(world.lpid, 0, LARGE))
    assert isinstance(storing.effect, Offload)
    destroying = world.start(world.hv.destroy(world.lpid))
    assert isinstance(destroying.effect, Backoff)
    assert is_busy(world.run(world.hv.store_bytes(world.lpid, 0, b"late")))
    assert storing.finish() is None
    assert destroying.finish().errno.name == "OK"


def test_an_operation_that_needs_the_ultravisor_ends_with_the_epoch() -> None:
    world = secured()
    read_now = page_out_under_way(world)
    world.hv.store.epoch.end()
    with pytest.raises(Ended):
        read_now.step()
    assert (world.vm.moving, world.vm.gate.open, world.used) == (False, 0, 4)


def test_an_access_of_a_normal_vm_outlasts_the_epoch() -> None:
    world = HypervisorUnderTest(pages=64)
    storing = world.start(world.hv.store_bytes(world.lpid, 0, LARGE))
    world.hv.store.epoch.end()
    assert storing.finish() is None
    assert world.run(world.hv.load(world.lpid, 0, 1)) == bytes(1)
