"""H_SVM_INIT_DONE that is refused changes nothing and can be repeated."""

from harness.hypervisor_fixtures import HypervisorUnderTest
from harness.scripted_ultravisor import refuse_gfns
from pef_protocol.codes import UCode
from pef_protocol.designs import Design


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
