"""What each design does with GFNs that nobody asked for, at H_SVM_INIT_DONE and when plugged in.

Source: designs, the table of designs.
"""

from functools import partial
from typing import NamedTuple

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest, refused
from harness.scripted_peer import first, honest, turned_away
from harness.scripted_ultravisor import ZERO_PAGE, ScriptedUltravisor, refuse_gfns, rows
from pef_kit.core.effects import PeerCall
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.http import Caller
from pef_protocol.hypercalls import SvmInitDone
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE
from pef_protocol.runs import CodedRuns

ASKED, HOST_POPULATED, UNTOUCHED, SHARED, PAGED_OUT = range(5)


def before_done(design: Design) -> HypervisorUnderTest:
    """Return a transient VM with one GFN of each kind; all but UNTOUCHED were written to."""
    world = HypervisorUnderTest(design, pages=5)
    for gfn in (ASKED, HOST_POPULATED, SHARED, PAGED_OUT):
        world.write(gfn, b"GFN %d" % gfn)
    world.init_start()
    world.page_in((ASKED, 1), (PAGED_OUT, 1))
    world.share((SHARED, 1))
    world.page_out((PAGED_OUT, 1))
    world.uv.asked.clear()
    return world


class Done(NamedTuple):
    """What H_SVM_INIT_DONE left: the columns, and the GFNs that it sent by UV_PAGE_IN."""

    states: str
    sent: list[list[tuple[int, int]]]
    used: int


@pytest.mark.parametrize(
    ("design", "done"),
    [
        (Design.EAGER, Done("SNNNN", [], 1)),
        (Design.BROKEN, Done("SNNNN", [], 1)),
        (Design.TRACKED, Done("SSSHP", [], 3)),
        (Design.TRACKED_PAGEIN, Done("SSSHP", [[(HOST_POPULATED, 1)]], 3)),
        (Design.PUSHED, Done("SSSNS", [[(HOST_POPULATED, 1), (SHARED, 2)]], 4)),
    ],
)
def test_left_over_gfns(design: Design, done: Done) -> None:
    world = before_done(design)
    if design is Design.PUSHED:
        world.uv.answers("UV_PAGE_IN", refuse_gfns(UCode.U_P2, SHARED))
    assert world.init_done().code.name == "H_SUCCESS"
    assert Done(world.states(), [rows(ask) for ask in world.uv.asked], world.used) == done
    assert world.vm.state.name == "SECURE"
    assert world.sound()


def test_tracked_gives_the_normal_pages_of_left_over_gfns_back() -> None:
    world = before_done(Design.TRACKED)
    assert world.init_done().code.succeeded
    assert world.normal_page(HOST_POPULATED) == ZERO_PAGE


@pytest.mark.parametrize("design", [Design.EAGER, Design.BROKEN])
def test_what_eager_and_broken_leave_over_the_host_still_reads(design: Design) -> None:
    world = before_done(design)
    world.init_done()
    assert world.read(HOST_POPULATED, 5) == b"GFN 1"


@pytest.mark.parametrize("code", [UCode.U_PARAMETER, UCode.U_P3])
def test_pushed_leaves_alone_only_what_is_refused_as_shared_or_for_lack_of_room(code: UCode) -> None:
    world = before_done(Design.PUSHED)
    world.uv.answers("UV_PAGE_IN", refuse_gfns(code, HOST_POPULATED, SHARED, PAGED_OUT))
    reply = world.init_done()
    assert (reply.code.name, reply.detail) == ("H_STATE", f"UV_PAGE_IN: {code.name}")
    assert (world.vm.state.name, world.states()) == ("TRANSIENT", "SNSNN")
    assert world.sound()


def test_pushed_leaves_a_paged_out_page_for_which_the_ultravisor_has_no_room() -> None:
    world = before_done(Design.PUSHED)
    world.uv.answers("UV_PAGE_IN", lambda uv, ask: refused_as(uv, ask, {SHARED: "P2", PAGED_OUT: "RETRY"}))
    assert world.init_done().code.succeeded
    assert (world.states(), world.used) == ("SSSNN", 3)
    assert world.page_in((PAGED_OUT, 1)).code.succeeded
    assert world.sound()


@pytest.mark.parametrize("shared", [(0, 1, 2), (1, 3, 5), (3, 4, 5)], ids=["first", "between", "last"])
def test_pushed_needs_no_device_page_for_good_for_what_is_refused(shared: tuple[int, ...]) -> None:
    world = HypervisorUnderTest(Design.PUSHED, pages=6, device_pages=4)
    for gfn in range(6):
        world.write(gfn, b"GFN %d" % gfn)
    world.init_start()
    world.share(*((gfn, 1) for gfn in shared))
    world.uv.asked.clear()
    world.uv.answers("UV_PAGE_IN", *[partial(refused_as, answers=dict.fromkeys(shared, "P2"))] * 3)
    assert world.init_done().code.succeeded
    assert (world.states(), world.used) == ("".join("SN"[gfn in shared] for gfn in range(6)), 3)
    sent = [gfn for ask in world.uv.asked for gfn, count in rows(ask) for gfn in range(gfn, gfn + count)]
    assert sorted(sent) == list(range(6))
    assert world.sound()


def test_pushed_stops_where_all_device_pages_are_in_use() -> None:
    world = HypervisorUnderTest(Design.PUSHED, pages=6, device_pages=4)
    world.write(0, bytes(6 * PAGE_SIZE))
    world.init_start()
    world.share((0, 1))
    world.uv.answers("UV_PAGE_IN", *[partial(refused_as, answers={0: "P2"})] * 3)
    reply = world.init_done()
    assert (reply.code.name, reply.detail) == ("H_STATE", "there are not enough device pages")
    assert (world.states(), world.used) == ("NSSSSN", 4)
    assert world.sound()


def test_a_page_that_goes_out_before_its_slot_is_plugged_whole_is_not_called_secure_again() -> None:
    world = HypervisorUnderTest(Design.PUSHED_FIXED)
    world.init_start()
    world.init_done()

    def registered_then_paged_out(uv: ScriptedUltravisor, ask: PeerCall) -> Reply:
        reply = uv.honest(ask)
        world.read(101)
        return reply

    world.uv.answers("UV_REGISTER_MEM_SLOT", registered_then_paged_out)
    assert world.plug(1, 100, 4).errno.name == "OK"
    assert (world.states(1), world.uv.pages[101][0]) == ("SNSS", "P")
    assert world.sound()


def refused_as(uv: ScriptedUltravisor, ask: PeerCall, answers: dict[int, str]) -> Reply:
    """Refuse those GFNs of the message that `answers` names, with these codes; the rest is done honestly."""
    sent = {gfn for gfn, count in rows(ask) for gfn in range(gfn, gfn + count)}
    codes = {gfn: UCode[f"U_{name}"] for gfn, name in answers.items() if gfn in sent}
    uv.honest(ask, passed_over=set(codes))
    coded = CodedRuns.of(*((gfn << PAGE_ORDER, 1, code) for gfn, code in codes.items()))
    return Reply(next(iter(codes.values()), UCode.U_SUCCESS), refused=coded)


def test_a_message_that_is_refused_at_init_done_is_named_and_the_call_is_repeated() -> None:
    world = before_done(Design.TRACKED_PAGEIN)
    world.uv.answers("UV_PAGE_IN", turned_away())
    reply = world.init_done()
    assert (reply.code.name, reply.detail) == ("H_STATE", "UV_PAGE_IN to ultravisor: turned away")
    assert (world.states(), world.sound()) == ("SNSHP", True)
    assert world.init_done().code.succeeded


@pytest.mark.parametrize("design", [Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED])
def test_too_few_device_pages_are_seen_before_the_first_gfn_is_marked(design: Design) -> None:
    world = HypervisorUnderTest(design, pages=16, device_pages=10)
    world.write(0, b"text")
    world.init_start()
    world.uv.asked.clear()
    before = world.hv.digest()
    reply = world.init_done()
    assert (reply.code.name, reply.detail) == ("H_STATE", "there are not enough device pages")
    assert (world.hv.digest(), world.uv.asked) == (before, [])


def test_only_one_operation_has_the_whole_vm() -> None:
    world = before_done(Design.TRACKED_PAGEIN)
    seen: list[str] = []

    def meanwhile(_: object) -> None:
        seen.extend((world.init_done().code.name, world.init_abort().code.name))
        seen.append(world.page_out((ASKED, 1)).code.name)

    world.uv.answers("UV_PAGE_IN", first(meanwhile))
    assert world.init_done().code.succeeded
    assert seen == ["H_BUSY", "H_BUSY", "H_SUCCESS"]
    assert world.states() == "PSSHP"


def test_init_done_waits_for_a_left_over_gfn_that_is_in_flight() -> None:
    world = HypervisorUnderTest(pages=64)
    big = world.start(world.hv.host_write(world.lpid, 0, bytes(2 << 20)))
    assert world.vm.moving
    world.init_start()
    assert world.init_done().code.name == "H_BUSY"
    big.finish()
    assert world.init_done().code.succeeded
    assert world.states() == "S" * 64
    assert world.sound()


def test_a_large_pass_scrubs_in_a_thread_while_the_gfns_are_in_flight() -> None:
    world = HypervisorUnderTest(pages=128, device_pages=128)
    world.write(0, b"\x01" * (100 << 16))
    world.init_start()
    done = world.start(world.hv.hypercall(*as_ultravisor_done(world)))
    assert not done.ended
    assert refused(world.page_out((0, 1))) == [(0, 1, "H_BUSY")]
    assert done.finish().code.succeeded
    assert world.normal_page(99) == ZERO_PAGE
    assert world.sound()


def as_ultravisor_done(world: HypervisorUnderTest) -> tuple[Caller, str, object]:
    """Return the arguments of an H_SVM_INIT_DONE by the Ultravisor."""
    return ULTRAVISOR, "H_SVM_INIT_DONE", SvmInitDone(world.lpid)


@pytest.mark.parametrize("secure", [False, True], ids=["transient", "secure"])
@pytest.mark.parametrize(
    ("design", "states", "nested"),
    [
        (Design.EAGER, "NNNN", "H_PARAMETER"),
        (Design.BROKEN, "NNNN", "H_PARAMETER"),
        (Design.TRACKED, "SSSS", "H_SUCCESS"),
        (Design.TRACKED_PAGEIN, "SSSS", "H_SUCCESS"),
        (Design.PUSHED, "SSSS", "H_SUCCESS"),
    ],
)
def test_a_plugged_slot(design: Design, states: str, nested: str, *, secure: bool) -> None:
    world = HypervisorUnderTest(design)
    world.init_start()
    if secure:
        world.init_done()
    seen: list[str] = []
    world.uv.asked.clear()
    world.uv.answers(
        "UV_REGISTER_MEM_SLOT", first(lambda _: seen.append(world.page_in((100, 2)).code.name), honest)
    )
    assert world.plug(1, 100, 4).errno.name == "OK"
    assert (seen, world.states(1)) == ([nested], states)
    assert world.uv.names == ["UV_REGISTER_MEM_SLOT"]
    assert world.page_in((100, 1)).code.succeeded is (states == "NNNN")
    assert world.sound()
