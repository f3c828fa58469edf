"""What a VMM does to a VM: create, reset, destroy, add and remove slots.

Source: specification of the Hypervisor, section 6.
"""

from typing import Any

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest
from harness.scripted_peer import first, honest, refuse, silent, turned_away
from harness.scripted_ultravisor import ZERO_PAGE, Answer
from pef_hypervisor.state import LPIDS
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.quantities import PAGE_SIZE, SECURE_BIT


def create(world: HypervisorUnderTest) -> Any:
    """Create one more VM."""
    return world.run(world.hv.create_vm(Design.TRACKED, secure_guest=True, radix=True))


def test_a_vm_gets_an_lpid_that_no_vm_had_and_its_entry_is_written() -> None:
    world = HypervisorUnderTest()
    assert (world.lpid, create(world).outputs["lpid"], create(world).outputs["lpid"]) == (1, 2, 3)
    request: Any = world.uv.asked[-1].request
    assert (world.uv.names[-1], request.lpid) == ("UV_WRITE_PATE", 3)
    assert not (request.dw0 | request.dw1) & SECURE_BIT
    world.run(world.hv.destroy(2))
    assert create(world).outputs["lpid"] == 4


def test_lpids_are_reused_when_all_were_used_the_least_recently_freed_first() -> None:
    world = HypervisorUnderTest()
    world.hv.store.in_the_making.update(set(LPIDS) - {1, 2, 3})
    assert [create(world).outputs["lpid"] for _ in range(2)] == [2, 3]
    for lpid in (3, 1, 2):
        world.run(world.hv.destroy(lpid))
    assert [create(world).outputs["lpid"] for _ in range(3)] == [3, 1, 2]
    assert create(world).errno.name == "ENOMEM"


def test_each_vm_has_an_incarnation_of_its_own_whatever_lpid_it_has() -> None:
    world = HypervisorUnderTest()
    world.hv.store.in_the_making.update(set(LPIDS) - {1})
    first = world.hv.store.vms[1].incarnation
    world.run(world.hv.destroy(1))
    assert create(world).outputs["lpid"] == 1
    assert world.hv.store.vms[1].incarnation.count > first.count


@pytest.mark.parametrize(
    ("answer", "errno"),
    [
        (refuse(UCode.U_PARAMETER), "EINVAL"),
        (refuse(UCode.U_PERMISSION), "EINVAL"),
        (turned_away(), "EINVAL"),
        (silent(), "EIO"),
    ],
    ids=["refused", "an SVM is there", "turned away", "silent"],
)
def test_a_vm_whose_entry_is_not_taken_is_not_made(answer: Answer, errno: str) -> None:
    world = HypervisorUnderTest()
    before = world.hv.digest()
    world.uv.answers("UV_WRITE_PATE", answer)
    outcome = create(world)
    assert (outcome.errno.name, outcome.outputs) == (errno, {})
    assert outcome.detail.startswith("UV_WRITE_PATE")
    assert world.hv.digest() == before
    assert create(world).outputs["lpid"] == 3


def test_two_vms_made_at_once_get_two_lpids_and_all_may_be_taken() -> None:
    world = HypervisorUnderTest()
    one = world.start(world.hv.create_vm(Design.EAGER, secure_guest=True, radix=True))
    two = world.start(world.hv.create_vm(Design.EAGER, secure_guest=True, radix=True))
    assert {one.finish().outputs["lpid"], two.finish().outputs["lpid"]} == {2, 3}
    world.hv.store.in_the_making.update(LPIDS)
    assert create(world).errno.name == "ENOMEM"


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


def test_a_hot_add_without_enough_device_pages_is_asked_for_and_undone() -> None:
    world = HypervisorUnderTest(device_pages=18)
    world.init_start()
    world.init_done()
    before = world.hv.digest()
    assert (world.plug(1, 100, 3).errno.name, world.hv.digest()) == ("ENOMEM", before)
    assert world.uv.names[-2:] == ["UV_REGISTER_MEM_SLOT", "UV_UNREGISTER_MEM_SLOT"]
    world.uv.answers(
        "UV_REGISTER_MEM_SLOT", first(lambda _: setattr(world.hv.store.pool, "size", 17), honest)
    )
    outcome = world.plug(1, 100, 2)
    world.hv.store.pool.size = 18
    assert (outcome.errno.name, outcome.detail) == ("ENOMEM", "there are not enough device pages")
    assert (list(world.uv.slots), world.used, world.hv.digest()) == ([0], 16, before)
    assert world.sound()


def test_operations_on_a_vm_that_there_is_not() -> None:
    world = HypervisorUnderTest()
    hv = world.hv
    for operation in (
        hv.add_slot(9, 0, 0, PAGE_SIZE),
        hv.remove_slot(9, 0),
        hv.reset(9),
        hv.destroy(9),
        hv.unmap(9, 0, 1),
        hv.host_write(9, 0, b"x"),
    ):
        assert world.run(operation).errno.name == "ENOENT"
    assert world.unplug(5).errno.name == "ENOENT"
    assert getattr(world.run(hv.host_read(9, 0, 1)), "errno", None) is not None
