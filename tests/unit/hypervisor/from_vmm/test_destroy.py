"""A VMM destroys a VM."""

from typing import Any

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_peer import refuse
from harness.scripted_ultravisor import ZERO_PAGE
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_SIZE


@pytest.mark.parametrize("secure", [False, True], ids=["normal", "secure"])
def test_destroy_empties_the_entry_and_gives_everything_back(*, secure: bool) -> None:
    world = HypervisorUnderTest()
    world.write(0, b"text")
    base = world.slot.base
    if secure:
        world.init_start()
        world.init_done()
        world.page_out((1, 1))
    world.uv.asked.clear()
    assert world.run(world.hv.destroy(world.lpid)).errno.name == "OK"
    assert world.uv.names == ["UV_SVM_TERMINATE", "UV_WRITE_PATE"]
    request: Any = world.uv.asked[-1].request
    assert (request.dw0, request.dw1) == (0, 0)
    assert (world.used, world.hv.store.memory.claims) == (0, {})
    assert bytes(world.memory.at(base, 2 * PAGE_SIZE)) == ZERO_PAGE * 2
    assert world.hv.invariants() == []
    assert world.run(world.hv.destroy(world.lpid)).errno.name == "ENOENT"


@pytest.mark.parametrize("ending", ["reset", "destroy"])
def test_an_svm_that_begins_between_the_end_of_another_and_the_entry_is_ended_too(ending: str) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.uv.answers("UV_WRITE_PATE", refuse(UCode.U_PERMISSION), refuse(UCode.U_PERMISSION))
    world.uv.asked.clear()
    assert world.run(getattr(world.hv, ending)(world.lpid)).errno.name == "OK"
    sent = [name for name in world.uv.names if name != "UV_UNREGISTER_MEM_SLOT"]
    assert sent == ["UV_SVM_TERMINATE", "UV_WRITE_PATE"] * 3


@pytest.mark.parametrize(
    ("ultracall", "code"), [("UV_SVM_TERMINATE", UCode.U_PERMISSION), ("UV_WRITE_PATE", UCode.U_P2)]
)
def test_destroy_that_is_refused_can_be_repeated(ultracall: str, code: UCode) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.uv.answers(ultracall, refuse(code))
    assert world.run(world.hv.destroy(world.lpid)).errno.name == "EINVAL"
    assert world.sound()
    assert world.run(world.hv.destroy(world.lpid)).errno.name == "OK"
