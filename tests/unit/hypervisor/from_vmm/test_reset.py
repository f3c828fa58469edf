"""A VMM resets a VM."""

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest
from harness.scripted_peer import refuse, silent, turned_away
from harness.scripted_ultravisor import ZERO_PAGE, Answer
from pef_protocol.codes import UCode
from pef_protocol.designs import Design


@pytest.mark.parametrize("code", [UCode.U_PARAMETER, UCode.U_INVALID])
def test_reset_of_a_normal_vm_ends_what_may_have_begun_behind_it_and_no_more(code: UCode) -> None:
    world = HypervisorUnderTest()
    world.write(0, b"text")
    before = world.hv.digest()
    world.uv.answers("UV_SVM_TERMINATE", refuse(code))
    assert (world.reset().errno.name, world.uv.names) == ("OK", ["UV_SVM_TERMINATE"])
    assert world.hv.digest() == before


def test_reset_of_a_normal_vm_that_was_denied_an_svm_leaves_nothing_to_abort() -> None:
    world = HypervisorUnderTest()
    world.vm.abort_due = True
    assert world.reset().errno.name == "OK"
    assert not world.vm.abort_due


def test_reset_of_a_normal_vm_that_must_be_reset_writes_its_entry() -> None:
    world = HypervisorUnderTest()
    world.vm.must_reset = True
    assert world.reset().errno.name == "OK"
    assert world.uv.names == ["UV_SVM_TERMINATE", "UV_WRITE_PATE"]
    assert (world.vm.state.name, world.vm.must_reset) == ("NORMAL", False)


def test_reset_ends_the_svm_in_the_order_of_the_specification() -> None:
    world = HypervisorUnderTest()
    world.plug(1, 100, 4)
    world.write(0, b"kernel")
    world.init_start()
    world.page_in((0, 1))
    world.init_done()
    world.uv.asked.clear()
    assert world.reset().errno.name == "OK"
    assert world.uv.names == ["UV_UNREGISTER_MEM_SLOT"] * 2 + ["UV_SVM_TERMINATE", "UV_WRITE_PATE"]
    assert (world.states(), world.states(1), world.used, world.vm.state.name) == (
        "N" * 16,
        "NNNN",
        0,
        "NORMAL",
    )
    assert world.normal_page(0) == ZERO_PAGE
    assert world.sound()
    assert world.init_start().code.succeeded


@pytest.mark.parametrize("design", [Design.EAGER, Design.BROKEN])
def test_after_reset_left_over_pages_are_what_the_host_had(design: Design) -> None:
    world = HypervisorUnderTest(design)
    world.write(5, b"stale")
    world.init_start()
    world.init_done()
    world.reset()
    assert world.read(5, 5) == b"stale"


def test_reset_is_busy_while_a_call_of_the_vm_is_open() -> None:
    world = HypervisorUnderTest()
    world.write(0, b"text")
    world.init_start()
    open_call = world.start(world.hv.hypercall(ULTRAVISOR, "H_SVM_PAGE_IN", world.paging_in((0, 1))))
    before = world.hv.digest()
    assert (world.reset().errno.name, world.hv.digest()) == ("EBUSY", before)
    assert world.run(world.hv.destroy(world.lpid)).errno.name == "EBUSY"
    open_call.finish()
    assert world.reset().errno.name == "OK"


@pytest.mark.parametrize(("answer", "errno"), [(turned_away(), "EINVAL"), (silent(), "EIO")])
def test_reset_whose_entry_is_refused_can_be_repeated(answer: Answer, errno: str) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.uv.answers("UV_WRITE_PATE", answer)
    assert world.reset().errno.name == errno
    assert (world.vm.state.name, world.vm.must_abort, world.sound()) == ("TRANSIENT", True, True)
    assert world.reset().errno.name == "OK"
    assert (world.vm.state.name, world.sound()) == ("NORMAL", True)


@pytest.mark.parametrize("code", [UCode.U_PARAMETER, UCode.U_INVALID])
def test_where_the_ultravisor_has_no_svm_there_is_nothing_to_end(code: UCode) -> None:
    world = HypervisorUnderTest()
    world.init_start()
    world.uv.answers("UV_SVM_TERMINATE", refuse(code))
    assert (world.reset().errno.name, world.vm.state.name) == ("OK", "NORMAL")


def test_reset_does_not_wait_for_a_busy_slot_that_may_wait_for_it() -> None:
    world = HypervisorUnderTest()
    world.plug(1, 100, 4)
    world.init_start()
    world.uv.asked.clear()
    world.uv.answers("UV_UNREGISTER_MEM_SLOT", *[refuse(UCode.U_BUSY)] * 2)
    assert world.reset().errno.name == "OK"
    assert world.uv.names == ["UV_UNREGISTER_MEM_SLOT"] * 2 + ["UV_SVM_TERMINATE", "UV_WRITE_PATE"]
    assert world.vm.state.name == "NORMAL"
    assert world.sound()
