"""H_SVM_INIT_START: slots are registered, or what was registered is undone."""

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_peer import first, refuse, turned_away
from pef_protocol.codes import UCode
from pef_protocol.designs import Design


def test_slots_are_registered_in_descending_order_and_the_design_is_told() -> None:
    world = HypervisorUnderTest(Design.PUSHED)
    world.plug(7, 100, 4)
    world.plug(3, 50, 4)
    reply = world.init_start()
    assert (reply.code.name, dict(reply.outputs)) == ("H_SUCCESS", {"design": "pushed"})
    assert [ask.request.slotid for ask in world.uv.asked] == [7, 3, 0]  # type: ignore[attr-defined]
    assert world.sound()


@pytest.mark.parametrize("answer", [refuse(UCode.U_RETRY), turned_away()], ids=["refused", "turned away"])
def test_init_start_that_fails_undoes_in_reverse_and_waits_for_the_abort(answer: object) -> None:
    world = HypervisorUnderTest()
    world.plug(1, 50, 4)
    world.plug(2, 100, 4)
    world.uv.answers("UV_REGISTER_MEM_SLOT", *[lambda uv, ask: uv.honest(ask)] * 2, answer)  # type: ignore[arg-type]
    assert world.init_start().code.name == "H_PARAMETER"
    assert [(ask.name, ask.request.slotid) for ask in world.uv.asked] == [  # type: ignore[attr-defined]
        ("UV_REGISTER_MEM_SLOT", 2),
        ("UV_REGISTER_MEM_SLOT", 1),
        ("UV_REGISTER_MEM_SLOT", 0),
        ("UV_UNREGISTER_MEM_SLOT", 1),
        ("UV_UNREGISTER_MEM_SLOT", 2),
    ]
    assert world.init_done().code.name == "H_STATE"
    assert world.init_start().code.name == "H_STATE"
    assert world.page_in((0, 1)).code.name == "H_UNSUPPORTED"
    assert world.page_out((0, 1)).code.name == "H_UNSUPPORTED"
    assert world.init_abort().code.name == "H_PARAMETER"
    assert (world.vm.state.name, world.sound()) == ("NORMAL", True)
    assert world.init_start().code.succeeded


def test_an_init_start_whose_svm_is_over_leaves_a_normal_vm() -> None:
    world = HypervisorUnderTest()
    before = world.hv.digest()
    world.uv.answers("UV_REGISTER_MEM_SLOT", turned_away())
    assert world.init_start().code.name == "H_PARAMETER"
    assert (world.vm.state.name, world.uv.names, world.hv.digest()) == (
        "NORMAL",
        ["UV_REGISTER_MEM_SLOT"],
        before,
    )
    assert world.init_start().code.succeeded


def test_a_denied_init_start_changes_nothing_and_its_abort_is_accepted() -> None:
    world = HypervisorUnderTest(secure_guest=False)
    before = world.hv.digest()
    assert world.init_start().code.name == "H_AUTHORITY"
    assert world.hv.digest() == before
    assert world.init_done().code.name == "H_UNSUPPORTED"
    assert world.init_abort().code.name == "H_PARAMETER"
    assert world.uv.names == ["UV_SVM_TERMINATE"]
    assert world.init_abort().code.name == "H_UNSUPPORTED"
    assert world.hv.digest() == before


def test_while_slots_are_registered_the_vm_is_closed() -> None:
    world = HypervisorUnderTest()
    seen: list[str] = []

    def meanwhile(_: object) -> None:
        seen.extend((world.init_start().code.name, world.init_done().code.name, world.init_abort().code.name))
        seen.extend(outcome.errno.name for outcome in (world.plug(1, 100, 1), world.unplug(0), world.reset()))

    world.uv.answers("UV_REGISTER_MEM_SLOT", first(meanwhile))
    assert world.init_start().code.succeeded
    assert seen == ["H_STATE", "H_STATE", "H_BUSY", "EBUSY", "EBUSY", "EBUSY"]


def test_a_vm_with_no_memory_becomes_secure_and_normal_again() -> None:
    world = HypervisorUnderTest()
    world.unplug(0)
    assert world.init_start().code.succeeded
    assert world.init_done().code.succeeded
    assert world.reset().errno.name == "OK"
