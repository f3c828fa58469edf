"""Every cell of the Hypervisor's table of events by VM states, driven through the calls themselves.

Source: specification of the Hypervisor, sections 3 and 5.
"""

from collections.abc import Callable

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_peer import first, refuse, turned_away
from harness.scripted_ultravisor import refuse_gfns
from pef_hypervisor.checks import Refused
from pef_protocol.codes import UCode
from pef_protocol.designs import Design


def in_state(state: str, design: Design = Design.TRACKED) -> HypervisorUnderTest:
    """Return a VM in that state, with a touched page 0."""
    world = HypervisorUnderTest(design)
    world.write(0, b"kernel")
    if state != "NORMAL":
        world.init_start()
    if state == "SECURE":
        world.init_done()
    assert world.vm.state.name == state
    world.uv.asked.clear()
    return world


EVENTS: dict[str, Callable[[HypervisorUnderTest], str]] = {
    "start VM": lambda world: (
        "refused" if isinstance(world.run(world.hv.load(world.lpid, 0, 6)), Refused) else "runs"
    ),
    "INIT_START": lambda world: world.init_start().code.name,
    "INIT_DONE": lambda world: world.init_done().code.name,
    "INIT_ABORT": lambda world: world.init_abort().code.name,
    "UV_SVM_TERMINATE": lambda world: world.reset().errno.name,
}
CELLS = {
    ("start VM", "NORMAL"): ("runs", "NORMAL"),
    ("start VM", "SECURE"): ("refused", "SECURE"),
    ("start VM", "TRANSIENT"): ("refused", "TRANSIENT"),
    ("INIT_START", "NORMAL"): ("H_SUCCESS", "TRANSIENT"),
    ("INIT_START", "SECURE"): ("H_STATE", "SECURE"),
    ("INIT_START", "TRANSIENT"): ("H_STATE", "TRANSIENT"),
    ("INIT_DONE", "NORMAL"): ("H_UNSUPPORTED", "NORMAL"),
    ("INIT_DONE", "SECURE"): ("H_STATE", "SECURE"),
    ("INIT_DONE", "TRANSIENT"): ("H_SUCCESS", "SECURE"),
    ("INIT_ABORT", "NORMAL"): ("H_UNSUPPORTED", "NORMAL"),
    ("INIT_ABORT", "SECURE"): ("H_STATE", "SECURE"),
    ("INIT_ABORT", "TRANSIENT"): ("H_PARAMETER", "NORMAL"),
    ("UV_SVM_TERMINATE", "NORMAL"): ("OK", "NORMAL"),
    ("UV_SVM_TERMINATE", "SECURE"): ("OK", "NORMAL"),
    ("UV_SVM_TERMINATE", "TRANSIENT"): ("OK", "NORMAL"),
}
REFUSALS = {"H_STATE", "H_UNSUPPORTED", "refused"}


@pytest.mark.parametrize("design", Design)
@pytest.mark.parametrize("cell", CELLS, ids="/".join)
def test_every_cell(cell: tuple[str, str], design: Design) -> None:
    event, state = cell
    world = in_state(state, design)
    before = world.hv.digest()
    seen = EVENTS[event](world)
    assert (seen, world.vm.state.name) == CELLS[cell]
    if seen in REFUSALS:
        assert world.hv.digest() == before
        assert world.uv.asked == []
    assert world.sound()


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


def test_init_done_short_of_device_pages_changes_nothing_and_is_repeated() -> None:
    world = HypervisorUnderTest(pages=16, device_pages=10)
    world.init_start()
    assert world.init_done().code.name == "H_STATE"
    assert (world.states(), world.used, world.vm.state.name) == ("N" * 16, 0, "TRANSIENT")
    assert world.sound()
    world.share((0, 6))
    assert world.init_done().code.succeeded
    assert (world.states(), world.vm.state.name) == ("H" * 6 + "S" * 10, "SECURE")


def test_init_done_of_tracked_pagein_that_is_refused_is_repeated() -> None:
    world = HypervisorUnderTest(Design.TRACKED_PAGEIN)
    world.write(1, b"text")
    world.write(3, b"more")
    world.init_start()
    world.uv.answers("UV_PAGE_IN", refuse_gfns(UCode.U_P3, 3))
    assert world.init_done().code.name == "H_STATE"
    assert world.states() == "SSSN" + "S" * 12
    assert world.sound()
    assert world.init_done().code.succeeded
    assert world.states() == "S" * 16


def test_while_slots_are_registered_the_vm_is_closed() -> None:
    world = HypervisorUnderTest()
    seen: list[str] = []

    def meanwhile(_: object) -> None:
        seen.extend((world.init_start().code.name, world.init_done().code.name, world.init_abort().code.name))
        seen.extend(outcome.errno.name for outcome in (world.plug(1, 100, 1), world.unplug(0), world.reset()))

    world.uv.answers("UV_REGISTER_MEM_SLOT", first(meanwhile))
    assert world.init_start().code.succeeded
    assert seen == ["H_STATE", "H_STATE", "H_BUSY", "EBUSY", "EBUSY", "EBUSY"]


def test_a_slot_that_is_being_plugged_keeps_the_abort_away() -> None:
    world = HypervisorUnderTest()
    world.init_start()
    seen: list[str] = []
    world.uv.answers("UV_REGISTER_MEM_SLOT", first(lambda _: seen.append(world.init_abort().code.name)))
    assert world.plug(1, 100, 1).errno.name == "OK"
    assert (seen, world.vm.state.name) == (["H_BUSY"], "TRANSIENT")


def test_a_vm_with_no_memory_becomes_secure_and_normal_again() -> None:
    world = HypervisorUnderTest()
    world.unplug(0)
    assert world.init_start().code.succeeded
    assert world.init_done().code.succeeded
    assert world.reset().errno.name == "OK"
