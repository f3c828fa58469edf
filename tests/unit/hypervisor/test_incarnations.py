"""Calls about an SVM name its incarnation, and those that name another one are refused with nothing done.

Source: rule 6 of ARCHITECTURE.md, "Identity and time".
"""

from typing import Final

import pytest

from harness.hypervisor_fixtures import HypervisorUnderTest
from pef_kit.core.life import OtherIncarnation
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.http import Caller, Role
from pef_protocol.hypercalls import SvmInitAbort, SvmInitDone, SvmInitStart
from pef_protocol.identity import Incarnation, InstanceId

ONE, TWO = InstanceId("1" * 32), InstanceId("2" * 32)
SECOND: Final = Incarnation(ONE, 2)


def means(incarnation: Incarnation | None) -> Caller:
    """Return the Ultravisor, whose call means that SVM."""
    return Caller(Role.ULTRAVISOR, incarnation=incarnation)


def started(incarnation: Incarnation = SECOND) -> HypervisorUnderTest:
    """Return a VM whose H_SVM_INIT_START named that incarnation."""
    world = HypervisorUnderTest()
    world.write(0, b"text")
    assert world.call("H_SVM_INIT_START", SvmInitStart(world.lpid), means(incarnation)).code.succeeded
    return world


def test_every_call_about_the_svm_names_it_and_no_other_does() -> None:
    world = started()
    world.call("H_SVM_PAGE_IN", world.paging_in((0, 1)), means(SECOND))
    world.share((1, 1))
    world.unmap(1)
    world.read(0)
    world.unplug(0)
    named = {ask.name for ask in world.uv.asked if ask.incarnation == SECOND}
    world.uv.asked.clear()
    world.reset()
    assert named == {
        "UV_REGISTER_MEM_SLOT",
        "UV_PAGE_IN",
        "UV_PAGE_INVAL",
        "UV_PAGE_OUT",
        "UV_UNREGISTER_MEM_SLOT",
    }
    assert {ask.incarnation for ask in world.uv.asked} == {None}


@pytest.mark.parametrize("other", [Incarnation(ONE, 1), Incarnation(ONE, 3), Incarnation(TWO, 2)], ids=str)
def test_a_call_for_another_svm_is_refused_with_nothing_done(other: Incarnation) -> None:
    world = started()
    world.uv.asked.clear()
    before = world.hv.digest()
    for name, request in (
        ("H_SVM_PAGE_IN", world.paging_in((0, 1))),
        ("H_SVM_PAGE_OUT", world.paging_out((0, 1))),
        ("H_SVM_INIT_DONE", SvmInitDone(world.lpid)),
        ("H_SVM_INIT_ABORT", SvmInitAbort(world.lpid)),
    ):
        with pytest.raises(OtherIncarnation):
            next(world.hv.hypercall(means(other), name, request))
    assert (world.hv.digest(), world.uv.asked) == (before, [])
    assert world.call("H_SVM_PAGE_IN", world.paging_in((0, 1)), means(SECOND)).code.succeeded


@pytest.mark.parametrize("late", [SECOND, Incarnation(ONE, 1), Incarnation(TWO, 9)], ids=str)
def test_an_svm_must_be_a_later_one_than_any_before(late: Incarnation) -> None:
    world = started()
    world.reset()
    with pytest.raises(OtherIncarnation):
        next(world.hv.hypercall(means(late), "H_SVM_INIT_START", SvmInitStart(world.lpid)))
    later = means(Incarnation(ONE, 3))
    assert world.call("H_SVM_INIT_START", SvmInitStart(world.lpid), later).code.succeeded


@pytest.mark.parametrize("ends", ["reset", "abort"])
@pytest.mark.parametrize("code", [UCode.U_SUCCESS, UCode.U_INVALID], ids=lambda code: code.name)
def test_no_svm_begins_that_ended_before_this_side_heard_of_it(code: UCode, ends: str) -> None:
    """Its H_SVM_INIT_START was on its way while UV_SVM_TERMINATE ended it: the answer names the next one."""
    world = started() if ends == "abort" else HypervisorUnderTest()
    terminated = Reply(code, {"incarnation": str(Incarnation(ONE, 5))})
    world.uv.answers("UV_SVM_TERMINATE", lambda *_: terminated)
    if ends == "abort":
        world.init_abort()
    else:
        assert world.reset().errno.name == "OK"
    before = world.hv.digest()
    for late in (Incarnation(ONE, 4), Incarnation(TWO, 9)):
        with pytest.raises(OtherIncarnation):
            next(world.hv.hypercall(means(late), "H_SVM_INIT_START", SvmInitStart(world.lpid)))
    assert (world.hv.digest(), world.vm.state.name) == (before, "NORMAL")
    following = means(Incarnation(ONE, 5))
    assert world.call("H_SVM_INIT_START", SvmInitStart(world.lpid), following).code.succeeded


@pytest.mark.parametrize("reported", [{}, {"incarnation": "no incarnation"}], ids=["nothing", "junk"])
def test_an_ultravisor_that_tells_no_incarnation_begins_any_svm(reported: dict[str, str]) -> None:
    world = HypervisorUnderTest()
    world.uv.answers("UV_SVM_TERMINATE", lambda *_: Reply(UCode.U_SUCCESS, reported))
    world.reset()
    assert world.call("H_SVM_INIT_START", SvmInitStart(world.lpid), means(SECOND)).code.succeeded


def test_another_ultravisor_begins_its_own_svms() -> None:
    world = HypervisorUnderTest()
    terminated = Reply(UCode.U_SUCCESS, {"incarnation": str(Incarnation(ONE, 5))})
    world.uv.answers("UV_SVM_TERMINATE", lambda *_: terminated)
    world.reset()
    world.run(world.hv.fit_new_ultravisor())
    another = means(Incarnation(TWO, 1))
    assert world.call("H_SVM_INIT_START", SvmInitStart(world.lpid), another).code.succeeded


def test_while_a_vm_is_reset_the_svm_that_begins_meanwhile_reads_busy() -> None:
    world = started()
    later = means(Incarnation(ONE, 3))
    with world.vm.gate.ending("reset"):
        assert world.call("H_SVM_INIT_ABORT", SvmInitAbort(world.lpid), later).code.name == "H_BUSY"
        with pytest.raises(OtherIncarnation):
            next(world.hv.hypercall(means(Incarnation(ONE, 1)), "H_SVM_INIT_ABORT", SvmInitAbort(world.lpid)))


def test_a_late_abort_of_an_svm_that_is_over_does_nothing() -> None:
    world = started()
    world.reset()
    before = world.hv.digest()
    reply = world.call("H_SVM_INIT_ABORT", SvmInitAbort(world.lpid), means(Incarnation(ONE, 1)))
    assert (reply.code.name, world.hv.digest()) == ("H_UNSUPPORTED", before)


def test_the_abort_of_a_denied_svm_ends_that_one_alone() -> None:
    world = HypervisorUnderTest(secure_guest=False)
    world.call("H_SVM_INIT_START", SvmInitStart(world.lpid), means(SECOND))
    world.uv.asked.clear()
    assert world.call("H_SVM_INIT_ABORT", SvmInitAbort(world.lpid), means(SECOND)).code.name == "H_PARAMETER"
    assert [(ask.name, ask.incarnation) for ask in world.uv.asked] == [("UV_SVM_TERMINATE", SECOND)]
