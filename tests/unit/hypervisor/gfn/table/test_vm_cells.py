"""Every cell of the Hypervisor's table of events by VM states, driven through the calls themselves.

Source: specification of the Hypervisor, sections 3 and 5.
"""

from collections.abc import Callable

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_peer import first
from pef_hypervisor.checks import Refused
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


def test_a_slot_that_is_being_plugged_keeps_the_abort_away() -> None:
    world = HypervisorUnderTest()
    world.init_start()
    seen: list[str] = []
    world.uv.answers("UV_REGISTER_MEM_SLOT", first(lambda _: seen.append(world.init_abort().code.name)))
    assert world.plug(1, 100, 1).errno.name == "OK"
    assert (seen, world.vm.state.name) == (["H_BUSY"], "TRANSIENT")
