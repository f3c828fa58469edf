"""A VMM removes a slot of a VM."""

from typing import Any

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest
from harness.scripted_peer import first, honest, refuse, silent, turned_away
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.codes import UCode


@pytest.mark.parametrize("secure", [False, True], ids=["transient", "secure"])
def test_a_slot_of_a_started_vm_is_removed_from_both_sides(*, secure: bool) -> None:
    world = HypervisorUnderTest()
    world.plug(1, 100, 4)
    world.init_start()
    if secure:
        world.init_done()
    world.page_in((100, 2))
    assert world.unplug(1).errno.name == "OK"
    assert (list(world.uv.slots), len(world.vm.slots)) == ([0], 1)
    assert "UV_PAGE_OUT" not in world.uv.names
    assert world.used == (16 if secure else 0)
    assert world.sound()


@pytest.mark.parametrize(
    ("answers", "errno"),
    [
        ([refuse(UCode.U_BUSY)] * MAX_ATTEMPTS, "EBUSY"),
        ([refuse(UCode.U_PERMISSION)], "EINVAL"),
        ([turned_away()], "EINVAL"),
    ],
    ids=["busy", "refused", "turned away"],
)
def test_a_slot_that_is_refused_stays_as_it_was(answers: list[Any], errno: str) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.init_done()
    before = world.hv.digest()
    world.uv.answers("UV_UNREGISTER_MEM_SLOT", *answers)
    assert (world.unplug(0).errno.name, world.hv.digest()) == (errno, before)
    assert world.sound()


def test_a_slot_being_removed_is_in_flight_and_nobody_else_has_the_vm() -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.init_done()
    seen: list[str] = []

    def meanwhile(_: object) -> None:
        seen.append(world.page_out((0, 1)).code.name)
        seen.extend(outcome.errno.name for outcome in (world.unplug(0), world.reset(), world.plug(1, 100, 1)))

    world.uv.answers("UV_UNREGISTER_MEM_SLOT", first(meanwhile, honest))
    assert world.unplug(0).errno.name == "OK"
    assert seen == ["H_BUSY", "EBUSY", "EBUSY", "EBUSY"]


def test_a_slot_with_a_page_in_flight_is_not_removed() -> None:
    world = HypervisorUnderTest()
    world.write(0, b"text")
    world.init_start()
    open_call = world.start(world.hv.hypercall(ULTRAVISOR, "H_SVM_PAGE_IN", world.paging_in((0, 1))))
    assert world.unplug(0).errno.name == "EBUSY"
    removal = world.start(world.hv.remove_slot(world.lpid, 0)).step()
    assert open_call.finish().code.succeeded
    assert removal.finish().errno.name == "OK"
    assert world.used == 0


def test_a_slot_of_a_normal_vm_with_a_page_in_flight_is_not_removed() -> None:
    world = HypervisorUnderTest(pages=64)
    write = world.start(world.hv.host_write(world.lpid, 0, bytes(2 << 20)))
    assert world.unplug(0).errno.name == "EBUSY"
    assert write.finish().errno.name == "OK"
    assert world.unplug(0).errno.name == "OK"


def test_a_busy_ultravisor_may_finish_with_a_page_of_the_slot_before_it_is_removed() -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.init_done()
    world.uv.answers("UV_UNREGISTER_MEM_SLOT", refuse(UCode.U_BUSY))
    removal = world.start(world.hv.remove_slot(world.lpid, 0)).step()
    assert world.page_out((0, 1)).code.succeeded
    assert removal.finish().errno.name == "OK"
    assert world.used == 0


def test_a_slot_that_an_open_uv_esm_has_measured_is_asked_for_once() -> None:
    """Asked again and again, it would wait for a UV_ESM that waits for the VM to be let go of."""
    world = HypervisorUnderTest()
    world.init_start()
    world.uv.answers("UV_UNREGISTER_MEM_SLOT", refuse(UCode.U_BUSY))
    assert world.unplug(0).errno.name == "EBUSY"
    assert world.unplug(0).errno.name == "OK"


@pytest.mark.parametrize("code", [UCode.U_P2, UCode.U_PARAMETER])
def test_a_slot_that_the_ultravisor_has_not_is_removed(code: UCode) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.init_done()
    world.uv.answers("UV_UNREGISTER_MEM_SLOT", refuse(code))
    assert world.unplug(0).errno.name == "OK"
    assert (world.used, world.sound()) == (0, True)


@pytest.mark.parametrize("name", ["UV_REGISTER_MEM_SLOT", "UV_UNREGISTER_MEM_SLOT"])
def test_a_vm_whose_slots_nobody_knows_must_be_reset(name: str) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.init_done()
    world.uv.answers(name, silent())
    outcome = world.plug(1, 100, 1) if name == "UV_REGISTER_MEM_SLOT" else world.unplug(0)
    assert outcome.errno.name == "EIO"
    assert (world.plug(2, 200, 1).errno.name, world.hv.invariants()) == ("EIO", [])
    assert world.reset().errno.name == "OK"
    assert world.plug(2, 200, 1).errno.name == "OK"
    assert world.sound()
