"""Many runs in one message: which are done, which are refused, and what the Ultravisor is sent."""

import numpy as np
import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest, refused
from harness.scripted_peer import first, honest, refuse, turned_away
from harness.scripted_ultravisor import refuse_gfns, rows
from pef_hypervisor.to_ultravisor.paging import codes_of
from pef_kit.core.effects import MAX_ATTEMPTS, PeerFailure
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.http import Caller
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.runs import CodedRuns


def started(
    design: Design = Design.TRACKED, *, touched: tuple[int, ...] = (), device_pages: int = 64
) -> HypervisorUnderTest:
    """Return a transient VM with two slots that abut nothing, some GFNs of the first one touched."""
    world = HypervisorUnderTest(design, device_pages=device_pages)
    world.plug(1, 100, 8)
    for gfn in touched:
        world.write(gfn, bytes([gfn + 1]))
    world.init_start()
    world.uv.asked.clear()
    return world


def test_one_message_carries_what_needs_it_from_all_slots() -> None:
    world = started(touched=(0, 1, 2, 5))
    world.write(103, b"x")
    assert world.page_in((5, 3), (102, 2), (0, 2)).code.succeeded
    assert [rows(ask) for ask in world.uv.asked] == [[(5, 1), (0, 2), (103, 1)]]
    assert (world.states(), world.states(1)) == ("SSNNNSSS" + "N" * 8, "NNSSNNNN")
    assert world.used == 7
    assert world.sound()


def test_refused_runs_come_back_whole_or_cut_in_the_order_of_the_message() -> None:
    world = started(touched=tuple(range(8)))
    world.page_in((2, 2))
    world.uv.answers("UV_PAGE_IN", refuse_gfns(UCode.U_P3, 6))
    reply = world.page_in((101, 99), (5, 3), (0, 5), (300, 1), (102, 1), (107, 2))
    assert reply.code.name == "H_PARAMETER"
    assert refused(reply) == [
        (101, 99, "H_PARAMETER"),
        (6, 1, "H_PARAMETER"),
        (2, 2, "H_PARAMETER"),
        (300, 1, "H_PARAMETER"),
        (107, 2, "H_PARAMETER"),
    ]
    assert (world.states()[:8], world.states(1)) == ("SSSSSSNS", "NNSNNNNN")
    assert world.sound()


def test_runs_that_name_a_gfn_twice_are_refused_and_the_rest_is_done() -> None:
    world = started()
    reply = world.page_in((0, 3), (4, 1), (2, 2))
    assert refused(reply) == [(0, 3, "H_PARAMETER"), (2, 2, "H_PARAMETER")]
    assert world.states()[:6] == "NNNNSN"


def test_an_address_that_is_not_on_a_page_boundary_is_refused() -> None:
    world = started()
    request = world.paging_in((1, 1))
    crooked = type(request)(request.lpid, type(request.runs).of((65537, 1)), 0, PAGE_ORDER)
    assert world.call("H_SVM_PAGE_IN", crooked).code.name == "H_PARAMETER"


def test_a_message_without_runs_does_nothing() -> None:
    world = started()
    before = world.hv.digest()
    assert world.page_in().code.succeeded
    assert world.page_in((3, 0)).code.succeeded
    assert world.page_out().code.succeeded
    assert (world.hv.digest(), world.uv.asked) == (before, [])


def test_a_huge_count_is_refused_at_once() -> None:
    world = started()
    assert refused(world.page_in((0, (1 << 64) - 1), (3, 1))) == [(0, (1 << 64) - 1, "H_PARAMETER")]


def test_scarce_device_pages_go_to_the_first_gfns_of_the_message() -> None:
    world = started(touched=(0, 1, 2, 3), device_pages=3)
    reply = world.page_in((104, 1), (2, 2), (0, 2))
    assert refused(reply) == [(0, 2, "H_PARAMETER")]
    assert (world.states()[:4], world.states(1)[4], world.used) == ("NNSS", "S", 3)
    assert world.sound()


@pytest.mark.parametrize("call", ["page_in", "page_out", "share"])
def test_busy_is_tried_again_and_only_for_what_is_busy(call: str) -> None:
    world = started(touched=(0, 1, 2, 3))
    ultracall = "UV_PAGE_IN"
    if call == "page_out":
        world.page_in((0, 4))
        ultracall = "UV_PAGE_OUT"
    world.uv.asked.clear()
    world.uv.answers(ultracall, refuse_gfns(UCode.U_BUSY, 1, 2), refuse_gfns(UCode.U_BUSY, 2))
    assert getattr(world, call)((0, 4)).code.succeeded
    assert [rows(ask) for ask in world.uv.asked] == [[(0, 4)], [(1, 2)], [(2, 1)]]
    assert world.pauses == 2
    assert world.states()[:4] == {"page_in": "SSSS", "page_out": "PPPP", "share": "HHHH"}[call]
    assert world.sound()


def test_time_limit_is_bounded_and_nothing_has_changed() -> None:
    world = started(touched=(0,))
    before = world.hv.digest()
    world.uv.answers("UV_PAGE_IN", *[refuse(UCode.U_BUSY)] * MAX_ATTEMPTS)
    reply = world.page_in((0, 1))
    assert (reply.code.name, refused(reply)) == ("H_BUSY", [(0, 1, "H_BUSY")])
    assert (len(world.uv.asked), world.hv.digest()) == (MAX_ATTEMPTS, before)
    assert world.sound()


def test_a_message_that_is_refused_is_named_and_nothing_has_changed() -> None:
    world = started(touched=(0, 1))
    before = world.hv.digest()
    world.uv.answers("UV_PAGE_IN", turned_away())
    reply = world.page_in((0, 2))
    assert (reply.code.name, reply.detail) == ("H_PARAMETER", "UV_PAGE_IN to ultravisor: turned away")
    assert world.hv.digest() == before
    assert world.sound()


def test_a_gfn_that_another_call_moves_is_busy_and_the_others_are_done() -> None:
    world = started(touched=(0, 1, 2))
    moving = world.start(world.hv.hypercall(*as_ultravisor(world, (1, 1))))
    assert refused(world.page_in((0, 3))) == [(1, 1, "H_BUSY")]
    assert world.states()[:3] == "SNS"
    assert refused(world.share((1, 1))) == [(1, 1, "H_BUSY")]
    assert moving.finish().code.succeeded
    assert world.states()[:3] == "SSS"
    assert world.sound()


def test_while_a_busy_page_waits_another_call_may_have_it() -> None:
    world = started(touched=(0,))
    world.uv.answers("UV_PAGE_IN", refuse(UCode.U_BUSY))
    waiting = world.start(world.hv.hypercall(*as_ultravisor(world, (0, 1)))).step()
    assert not world.vm.moving
    assert world.share((0, 1)).code.succeeded
    reply = waiting.finish()
    assert (reply.code.name, world.states()[0]) == ("H_BUSY", "H")
    assert world.sound()


def test_while_a_busy_page_waits_its_slot_may_go() -> None:
    world = started(touched=(0,))
    world.uv.answers("UV_PAGE_IN", refuse(UCode.U_BUSY))
    waiting = world.start(world.hv.hypercall(*as_ultravisor(world, (0, 1)))).step()
    assert world.unplug(0).errno.name == "OK"
    assert waiting.finish().code.name == "H_BUSY"
    assert world.used == 0
    assert world.sound()


def test_a_call_that_is_given_up_leaves_no_mark_and_no_reservation() -> None:
    world = started(touched=(0, 1))
    before = world.hv.digest()
    given_up = world.hv.hypercall(*as_ultravisor(world, (0, 2)))
    next(given_up)
    assert (world.vm.moving, world.used) == (True, 2)
    given_up.close()
    assert (world.hv.digest(), world.used) == (before, 0)
    assert world.sound()


def as_ultravisor(world: HypervisorUnderTest, *runs: tuple[int, int]) -> tuple[Caller, str, object]:
    """Return the arguments of an H_SVM_PAGE_IN by the Ultravisor."""
    return ULTRAVISOR, "H_SVM_PAGE_IN", world.paging_in(*runs)


GFNS = np.array([7, 3, 4], np.int64)


def test_codes_are_those_of_the_refused_runs() -> None:
    reply = Reply(UCode.U_P2, refused=CodedRuns.of((3 << 16, 2, UCode.U_P2), (7 << 16, 1, UCode.U_BUSY)))
    assert codes_of("UV_PAGE_IN", reply, GFNS).tolist() == [UCode.U_BUSY, UCode.U_P2, UCode.U_P2]
    assert codes_of("UV_PAGE_IN", Reply(UCode.U_STATE), GFNS).tolist() == [UCode.U_STATE] * 3
    assert codes_of("UV_PAGE_IN", Reply(UCode.U_SUCCESS), GFNS).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "row",
    [(5 << 16, 1, -55), (3 << 16, 3, -55), (3 << 16, 1 << 63, -55), (3 << 16, 1, 0), (3 << 16, 1, -9999)],
    ids=["other GFN", "beyond", "huge", "success", "no code"],
)
def test_refused_runs_that_make_no_sense_are_no_answer(row: tuple[int, int, int]) -> None:
    with pytest.raises(PeerFailure):
        codes_of("UV_PAGE_IN", Reply(UCode.U_P2, refused=CodedRuns.of(row)), GFNS)


def test_nonsense_from_the_ultravisor_moves_nothing_and_the_vm_must_be_reset() -> None:
    world = started(touched=(0,))
    nonsense = Reply(UCode.U_P2, refused=CodedRuns.of((9 << 16, 1, UCode.U_P2)))
    world.uv.answers("UV_PAGE_IN", lambda uv, ask: nonsense)
    assert world.page_in((0, 1)).code.name == "H_PARAMETER"
    assert (world.states()[0], world.vm.must_reset) == ("N", True)


def test_a_nested_call_may_come_while_a_page_is_under_way() -> None:
    world = started(touched=(0, 1))
    nested: list[str] = []
    world.uv.answers("UV_PAGE_IN", first(lambda _: nested.append(world.page_in((1, 1)).code.name), honest))
    assert world.page_in((0, 1)).code.succeeded
    assert nested == ["H_SUCCESS"]
    assert world.states()[:2] == "SS"
