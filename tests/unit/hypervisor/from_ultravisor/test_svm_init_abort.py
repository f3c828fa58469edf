"""H_SVM_INIT_ABORT: the VM goes on as a normal one, with its memory in clear as it was imported.

Source: decisions, "H_SVM_INIT_ABORT".
"""

import pytest

from harness.hypervisor_fixtures import ULTRAVISOR, HypervisorUnderTest
from harness.scripted_peer import first, honest, refuse, silent, turned_away
from harness.scripted_ultravisor import ZERO_PAGE, Answer, refuse_gfns, rows
from pef_hypervisor.outcome import Errno
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.codes import UCode
from pef_protocol.designs import PUSHING, Design
from pef_protocol.hypercalls import SvmInitAbort

IMPORTED, OUT, SHARED, LEFT, ASKED_UNTOUCHED, BOTH = range(6)


def failed_esm(design: Design = Design.TRACKED, *, device_pages: int = 64) -> HypervisorUnderTest:
    """Return a transient VM with a page of each kind."""
    world = HypervisorUnderTest(design, pages=6, device_pages=device_pages)
    for gfn in (IMPORTED, OUT, LEFT):
        world.write(gfn, b"GFN %d" % gfn)
    world.init_start()
    world.page_in((IMPORTED, 2))
    world.page_out((OUT, 1))
    world.page_in((ASKED_UNTOUCHED, 1))
    world.share((SHARED, 1))
    world.uv.asked.clear()
    return world


@pytest.mark.parametrize("design", [Design.TRACKED, Design.TRACKED_PAGEIN])
def test_memory_comes_back_as_it_was(design: Design) -> None:
    world = failed_esm(design)
    assert world.init_abort().code.name == "H_PARAMETER"
    assert [(ask.name, rows(ask)) for ask in world.uv.asked[:-1]] == [
        ("UV_PAGE_OUT", [(IMPORTED, 1)]),
        ("UV_PAGE_OUT", [(OUT, 1)]),
        ("UV_PAGE_IN", [(OUT, 1)]),
        ("UV_PAGE_OUT", [(OUT, 1)]),
    ]
    assert world.uv.names[-1] == "UV_SVM_TERMINATE"
    assert [world.read(gfn, 5) for gfn in (IMPORTED, OUT, LEFT)] == [b"GFN 0", b"GFN 1", b"GFN 3"]
    assert world.normal_page(ASKED_UNTOUCHED) == ZERO_PAGE
    assert (world.states(), world.used, world.vm.state.name) == ("NNNNNN", 0, "NORMAL")
    assert world.sound()


@pytest.mark.parametrize("design", [Design.EAGER, Design.BROKEN, *sorted(PUSHING - {Design.PUSHED_FIXED})])
def test_two_states_can_not_tell_what_is_paged_out_so_it_is_scrubbed_and_counted(design: Design) -> None:
    world = failed_esm(design)
    reply = world.init_abort()
    assert (reply.code.name, reply.detail) == ("H_PARAMETER", "1 pages were refused, and read as zero")
    assert world.uv.names == ["UV_PAGE_OUT", "UV_SVM_TERMINATE"]
    assert [world.read(gfn, 5) for gfn in (IMPORTED, OUT, LEFT)] == [b"GFN 0", bytes(5), b"GFN 3"]
    assert world.sound()


def replaced(design: Design) -> HypervisorUnderTest:
    """Return a failed UV_ESM with a page that was imported and then shared, beside the others."""
    world = failed_esm(design)
    world.write(BOTH, b"before")
    world.page_in((BOTH, 1))
    world.share((BOTH, 1))
    assert world.write(BOTH, b"by host").errno is Errno.OK
    world.uv.asked.clear()
    return world


def test_two_states_that_ask_get_everything_back() -> None:
    world = replaced(Design.PUSHED_FIXED)
    assert world.init_abort().detail == ""
    assert [(ask.name, rows(ask)) for ask in world.uv.asked[:-1]] == [
        ("UV_PAGE_OUT", [(IMPORTED, 1)]),
        ("UV_PAGE_OUT", [(BOTH, 1), (OUT, 1)]),
        ("UV_PAGE_IN", [(OUT, 1)]),
        ("UV_PAGE_OUT", [(OUT, 1)]),
    ]
    assert [world.read(gfn, 5) for gfn in (IMPORTED, OUT, LEFT)] == [b"GFN 0", b"GFN 1", b"GFN 3"]
    assert world.read(BOTH, 7) == b"by host"
    assert (world.states(), world.used, world.vm.state.name) == ("NNNNNN", 0, "NORMAL")
    assert world.sound()


def test_neighbours_are_asked_for_one_by_one_for_one_that_is_shared_would_refuse_them_all() -> None:
    world = failed_esm(Design.PUSHED_FIXED)
    world.page_in((LEFT, 1))
    world.page_out((IMPORTED, 1))
    world.page_out((LEFT, 2))
    world.uv.asked.clear()
    assert world.init_abort().detail == ""
    assert rows(world.uv.asked[0]) == [(ASKED_UNTOUCHED, 1), (LEFT, 1), (OUT, 1), (IMPORTED, 1)]
    assert [rows(ask) for ask in world.uv.asked[1:-1]] == [[(0, 2), (3, 2)]] * 2
    assert [world.read(gfn, 5) for gfn in (IMPORTED, OUT, LEFT)] == [b"GFN 0", b"GFN 1", b"GFN 3"]


@pytest.mark.parametrize("code", [UCode.U_STATE, UCode.U_P2])
def test_what_the_ultravisor_will_not_tell_is_scrubbed_and_counted(code: UCode) -> None:
    world = replaced(Design.PUSHED_FIXED)
    world.uv.answers("UV_PAGE_OUT", honest, refuse_gfns(code, OUT, BOTH))
    assert world.init_abort().detail == "2 pages were refused, and read as zero"
    assert (world.read(OUT, 5), world.read(BOTH, 7)) == (bytes(5), bytes(7))
    assert world.sound()


@pytest.mark.parametrize(
    "answer",
    [turned_away(), refuse(UCode.U_PARAMETER), refuse(UCode.U_BUSY)],
    ids=["turned away", "refused", "busy"],
)
def test_a_question_that_is_not_answered_can_be_asked_again(answer: Answer) -> None:
    world = replaced(Design.PUSHED_FIXED)
    world.uv.answers("UV_PAGE_OUT", honest, *[answer] * MAX_ATTEMPTS)
    assert world.init_abort().code.name in {"H_STATE", "H_BUSY"}
    assert (world.hv.invariants(), world.vm.moving) == ([], False)
    world.uv.script.clear()
    assert world.init_abort().detail == ""
    assert (world.read(OUT, 5), world.read(BOTH, 7)) == (b"GFN 1", b"by host")
    assert world.sound()


def test_two_states_that_ask_wait_for_device_pages_as_four_do() -> None:
    world = failed_esm(Design.PUSHED_FIXED)
    world.page_in((LEFT, 1))
    world.page_out((LEFT, 1))
    world.uv.asked.clear()
    world.hv.store.pool.size = world.used
    assert world.init_abort().code.name == "H_PARAMETER"
    assert [rows(ask) for ask in world.uv.asked if ask.name == "UV_PAGE_IN"] == [[(OUT, 1), (LEFT, 1)]]
    assert (world.read(OUT, 5), world.read(LEFT, 5)) == (b"GFN 1", b"GFN 3")


def test_a_paged_out_page_that_is_refused_is_scrubbed_and_counted() -> None:
    world = failed_esm()
    world.uv.answers("UV_PAGE_IN", refuse_gfns(UCode.U_P3, OUT))
    assert world.init_abort().detail == "1 pages were refused, and read as zero"
    assert (world.read(OUT, 5), world.states()) == (bytes(5), "NNNNNN")
    assert world.sound()


@pytest.mark.parametrize("ultracall", ["UV_PAGE_OUT", "UV_PAGE_IN", "UV_SVM_TERMINATE"])
def test_a_message_that_is_refused_costs_nothing_and_the_call_is_repeated(ultracall: str) -> None:
    world = failed_esm()
    world.uv.answers(ultracall, turned_away())
    reply = world.init_abort()
    assert (reply.code.name, reply.detail) == ("H_STATE", f"{ultracall} to ultravisor: turned away")
    assert world.vm.state.name == "TRANSIENT"
    assert world.hv.invariants() == []
    assert world.init_abort().code.name == "H_PARAMETER"
    assert [world.read(gfn, 5) for gfn in (IMPORTED, OUT, LEFT)] == [b"GFN 0", b"GFN 1", b"GFN 3"]
    assert world.sound()


@pytest.mark.parametrize("design", [Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED_FIXED])
def test_a_page_that_went_out_after_uv_esm_failed_went_out_in_clear_and_is_given_back(design: Design) -> None:
    world = failed_esm(design)
    world.uv.aborted = True
    assert world.read(IMPORTED, 5) == b"GFN 0"
    assert world.init_abort().detail == ""
    assert [rows(ask) for ask in world.uv.asked if ask.name == "UV_PAGE_IN"] == [[(OUT, 1)]]
    assert [world.read(gfn, 5) for gfn in (IMPORTED, OUT, LEFT)] == [b"GFN 0", b"GFN 1", b"GFN 3"]
    assert world.sound()


@pytest.mark.parametrize("ultracall", ["UV_PAGE_OUT", "UV_PAGE_IN", "UV_SVM_TERMINATE"])
def test_after_a_call_whose_outcome_can_not_be_had_only_reset_leads_on(ultracall: str) -> None:
    world = failed_esm()
    world.uv.answers(ultracall, silent())
    assert world.init_abort().code.name == "H_STATE"
    assert world.init_abort().code.name == "H_BUSY"
    assert world.hv.invariants() == []
    assert world.reset().errno.name == "OK"
    assert world.sound()


def test_busy_pages_are_tried_again_and_in_the_end_the_call_can_be_repeated() -> None:
    world = failed_esm()
    world.uv.answers("UV_PAGE_OUT", *[refuse(UCode.U_BUSY)] * MAX_ATTEMPTS)
    assert world.init_abort().code.name == "H_BUSY"
    assert world.states()[IMPORTED] == "S"
    assert world.init_abort().code.name == "H_PARAMETER"
    assert world.read(IMPORTED, 5) == b"GFN 0"


def test_paged_out_pages_that_stay_busy_are_as_they_were() -> None:
    world = failed_esm()
    world.uv.answers("UV_PAGE_IN", *[refuse(UCode.U_BUSY)] * MAX_ATTEMPTS)
    assert world.init_abort().code.name == "H_BUSY"
    assert world.states()[OUT] == "P"
    assert world.init_abort().code.name == "H_PARAMETER"
    assert world.read(OUT, 5) == b"GFN 1"


def test_with_one_device_page_paged_out_pages_come_back_one_by_one() -> None:
    world = HypervisorUnderTest(pages=4, device_pages=2)
    for gfn in range(4):
        world.write(gfn, b"%d" % gfn)
    world.init_start()
    for gfn in (0, 2):
        world.page_in((gfn, 2))
        world.page_out((gfn, 2))
    assert world.states() == "PPPP"
    world.uv.asked.clear()
    assert world.init_abort().code.name == "H_PARAMETER"
    assert rows(world.uv.asked[0]) == [(3, 1), (2, 1), (1, 1), (0, 1)]
    assert [rows(ask) for ask in world.uv.asked[1:-1]] == [[(0, 2)], [(0, 2)], [(2, 2)], [(2, 2)]]
    assert [world.read(gfn, 1) for gfn in range(4)] == [b"0", b"1", b"2", b"3"]
    assert world.sound()


def test_without_a_device_page_the_call_waits_for_better_times() -> None:
    world = HypervisorUnderTest(pages=2, device_pages=1)
    world.write(0, b"text")
    world.init_start()
    world.page_in((0, 1))
    world.page_out((0, 1))
    world.hv.store.pool.size = 0
    assert world.init_abort().code.name == "H_STATE"
    world.hv.store.pool.size = 1
    assert world.init_abort().code.name == "H_PARAMETER"
    assert world.read(0, 4) == b"text"


def test_where_secure_memory_is_short_pages_that_went_in_come_back_before_the_rest() -> None:
    world = HypervisorUnderTest(pages=2)
    for gfn in range(2):
        world.write(gfn, b"%d" % gfn)
    world.init_start()
    world.page_in((0, 2))
    world.page_out((0, 2))
    world.uv.answers("UV_PAGE_IN", refuse_gfns(UCode.U_RETRY, 1), honest)
    assert (world.init_abort().detail, world.read(0, 1), world.read(1, 1)) == ("", b"0", b"1")


def test_nothing_else_may_begin_while_the_vm_goes_back() -> None:
    world = failed_esm()
    seen: list[str] = []

    def meanwhile(_: object) -> None:
        seen.append(world.page_in((LEFT, 1)).code.name)
        seen.append(world.init_abort().code.name)
        seen.extend(outcome.errno.name for outcome in (world.plug(5, 500, 1), world.unplug(0)))
        seen.append(world.write(LEFT, b"x").errno.name)
        seen.append(getattr(world.read(LEFT), "errno", Errno.OK).name)
        seen.append(world.unmap(LEFT).errno.name)

    world.uv.answers("UV_PAGE_OUT", first(meanwhile))
    assert world.init_abort().code.name == "H_PARAMETER"
    assert seen == ["H_UNSUPPORTED", "H_BUSY", *["EBUSY"] * 5]
    assert world.sound()


def test_init_abort_waits_for_open_calls_and_is_busy_in_the_end() -> None:
    world = failed_esm()
    open_call = world.start(world.hv.hypercall(ULTRAVISOR, "H_SVM_PAGE_IN", world.paging_in((LEFT, 1))))
    world.uv.aborted = True
    abort = world.start(world.hv.hypercall(ULTRAVISOR, "H_SVM_INIT_ABORT", SvmInitAbort(world.lpid)))
    abort.step()
    assert world.page_out((IMPORTED, 1)).code.name == "H_BUSY"
    assert open_call.finish().code.succeeded
    assert abort.finish().code.name == "H_PARAMETER"
    stuck = failed_esm()
    for_ever = stuck.start(stuck.hv.hypercall(ULTRAVISOR, "H_SVM_PAGE_IN", stuck.paging_in((LEFT, 1))))
    assert stuck.init_abort().code.name == "H_BUSY"
    assert (for_ever.ended, stuck.vm.must_abort) == (False, False)
