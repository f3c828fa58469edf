"""UV_SHARE_PAGE: a page is shared and zero, or everything is as it was.

Source: ultravisor.rst, UV_SHARE_PAGE; decisions on shares that are refused or withdrawn; attacks 16, 18, 39.
"""

import pytest

from harness.held import Held
from harness.scripted_hypervisor import Answer, ScriptedHypervisor, busy, guest
from harness.scripted_peer import afterwards, first, honest, pretend, refuse, silent
from harness.ultravisor_fixtures import (
    LPID,
    ZERO,
    frame_of,
    machine,
    mapped,
    put,
    secure_vm,
    sound,
    state_of,
    svm_of,
    text,
)
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.quantities import PAGE_ORDER, U64_MAX, Gfn, Lpid
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageInval, SharePage, SvmTerminate, UnsharePage
from pef_ultravisor.access import AccessFailure

SLOTS = ((0, 0, 4), (1, 4, 4))
GFNS = range(2, 6)
"""The GFNs that are shared: they lie in two slots, which abut."""
REFUSED = HCode.H_PARAMETER


@pytest.fixture
def hv() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv, LPID, *SLOTS)
    for gfn in range(8):
        put(hv, gfn, S.SECURE, frame=text(f"page {gfn}"))
    return hv


def share(hv: ScriptedHypervisor, gfn: int = 2, num: int = 4) -> UCode:
    return UCode(hv.ultracall(SharePage(Gfn(gfn), num), guest(LPID)).code)


def unshare(hv: ScriptedHypervisor, gfn: int = 2, num: int = 4) -> UCode:
    return UCode(hv.ultracall(UnsharePage(Gfn(gfn), num), guest(LPID)).code)


def inval(hv: ScriptedHypervisor, gfn: int) -> Reply:
    return hv.ultracall(PageInval(Lpid(LPID), PageRuns.of((gfn << PAGE_ORDER, 1)), PAGE_ORDER))


def untouched(hv: ScriptedHypervisor) -> bool:
    """Tell whether all pages are secure, hold what they held, and back to work."""
    assert [state_of(hv, gfn) for gfn in range(8)] == [S.SECURE] * 8
    assert [frame_of(hv, gfn) for gfn in range(8)] == [text(f"page {gfn}") for gfn in range(8)]
    assert hv.load(LPID, GFNS[0] << PAGE_ORDER, 1 << PAGE_ORDER) == text(f"page {GFNS[0]}")
    return sound(hv)


def test_pages_of_two_slots_are_shared_in_one_message(hv: ScriptedHypervisor) -> None:
    for gfn in GFNS:
        hv.fill(hv.ra(LPID, gfn), text("stale"))
    assert share(hv) is UCode.U_SUCCESS
    runs = PageRuns.of((2 << PAGE_ORDER, 2), (4 << PAGE_ORDER, 2))
    assert [ask.request for ask in hv.asked] == [SvmPageIn(Lpid(LPID), runs, 1, PAGE_ORDER)]
    for gfn in GFNS:
        assert (state_of(hv, gfn), mapped(hv, gfn)) == (S.SHARED, hv.ra(LPID, gfn))
        assert frame_of(hv, gfn) == hv.page(hv.ra(LPID, gfn)) == ZERO
    assert [state_of(hv, gfn) for gfn in (0, 1, 6, 7)] == [S.SECURE] * 4
    assert sound(hv)


def test_gfn_0_is_a_page_like_any_other(hv: ScriptedHypervisor) -> None:
    assert share(hv, 0, 1) is UCode.U_SUCCESS
    assert state_of(hv, 0) is S.SHARED
    assert unshare(hv, 0, 1) is UCode.U_SUCCESS
    assert (state_of(hv, 0), frame_of(hv, 0)) == (S.SECURE, ZERO)
    assert share(hv, 0, 1) is UCode.U_SUCCESS
    assert hv.ultracall(SvmTerminate(Lpid(LPID))).code is UCode.U_SUCCESS
    assert hv.uv.normal_pages.used == 0


@pytest.mark.parametrize(
    ("gfn", "num", "code"),
    [
        (0, 8, UCode.U_SUCCESS),
        (7, 0, UCode.U_SUCCESS),
        (0, 9, UCode.U_P2),
        (7, 2, UCode.U_P2),
        (7, U64_MAX, UCode.U_P2),
        (1, U64_MAX, UCode.U_P2),
        (8, 0, UCode.U_PARAMETER),
        (U64_MAX, 2, UCode.U_PARAMETER),
        (1 << 48, 1, UCode.U_PARAMETER),
    ],
)
def test_ranges(hv: ScriptedHypervisor, gfn: int, num: int, code: UCode) -> None:
    before = hv.uv.digest()
    assert share(hv, gfn, num) is code
    if num == 0 or code is not UCode.U_SUCCESS:
        assert hv.uv.digest() == before
        assert hv.asked == []


def test_a_range_over_a_gap_between_slots_is_refused() -> None:
    hv = machine()
    secure_vm(hv, LPID, (0, 0, 4), (1, 5, 4))
    before = hv.uv.digest()
    assert share(hv, 3, 3) is UCode.U_P2
    assert hv.uv.digest() == before


def offered_moves(hv: ScriptedHypervisor, *gfns: int) -> None:
    """Offer pages, as if all went well."""
    assert hv.page_in(LPID, *gfns).code is UCode.U_SUCCESS
    hv.vms[LPID].letters.update(dict.fromkeys(gfns, "H"))


def withdraws(hv: ScriptedHypervisor) -> None:
    """Offer a page and take it back."""
    offered_moves(hv, 2)
    assert inval(hv, 2).code is UCode.U_SUCCESS


REFUSALS: dict[str, list[Answer]] = {
    "refused": [refuse(REFUSED)],
    "not supported": [refuse(HCode.H_UNSUPPORTED)],
    "busy, then refused": [busy(), refuse(REFUSED)],
    "one page offered, then refused": [first(lambda hv: offered_moves(hv, 2), refuse(REFUSED))],
    "all pages offered, then refused": [first(lambda hv: offered_moves(hv, *GFNS), refuse(REFUSED))],
    "a page offered and withdrawn, then refused": [first(withdraws, refuse(REFUSED))],
}


@pytest.mark.parametrize("answers", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_share_leaves_everything_as_it_was(hv: ScriptedHypervisor, answers: list[Answer]) -> None:
    hv.answers("H_SVM_PAGE_IN", *answers)
    assert share(hv) is UCode.U_P2
    assert untouched(hv)
    assert share(hv) is UCode.U_SUCCESS


NO_OUTCOME: dict[str, Answer] = {
    "no answer": silent(),
    "all pages offered, then no answer": first(lambda hv: offered_moves(hv, *GFNS), silent()),
}


@pytest.mark.parametrize("answer", NO_OUTCOME.values(), ids=NO_OUTCOME)
def test_a_share_that_nobody_knows_the_outcome_of_ends_the_svm(
    hv: ScriptedHypervisor, answer: Answer
) -> None:
    hv.answers("H_SVM_PAGE_IN", answer)
    assert share(hv) is UCode.U_P2
    assert svm_of(hv).state is UvVmState.ABORT
    assert [state_of(hv, gfn) for gfn in GFNS] == [S.SECURE] * 4
    assert [frame_of(hv, gfn) for gfn in GFNS] == [text(f"page {gfn}") for gfn in GFNS]
    assert sound(hv)


def test_a_hypervisor_that_is_busy_for_ever(hv: ScriptedHypervisor) -> None:
    hv.answers("H_SVM_PAGE_IN", *[busy()] * MAX_ATTEMPTS)
    assert share(hv) is UCode.U_BUSY
    assert untouched(hv)


def test_what_was_offered_is_given_back_before_a_busy_hypervisor_is_waited_for(
    hv: ScriptedHypervisor,
) -> None:
    hv.answers("H_SVM_PAGE_IN", first(lambda hv: offered_moves(hv, 2), busy()))
    assert share(hv) is UCode.U_SUCCESS
    assert [ask.request.flags for ask in hv.asked if isinstance(ask.request, SvmPageIn)] == [1, 0, 1]
    assert sound(hv)


def test_a_busy_hypervisor_is_asked_again(hv: ScriptedHypervisor) -> None:
    hv.answers("H_SVM_PAGE_IN", busy(), busy())
    assert share(hv) is UCode.U_SUCCESS
    assert (len(hv.asked), hv.pauses) == (3, 2)


def test_a_page_that_can_not_be_zeroed_is_not_shared(hv: ScriptedHypervisor) -> None:
    hv.bus_fails()
    assert share(hv) is UCode.U_P2
    assert [ask.request.flags for ask in hv.asked if isinstance(ask.request, SvmPageIn)] == [1, 0]
    assert untouched(hv)


def test_a_hypervisor_that_keeps_a_page_whose_share_failed_ends_the_svm(hv: ScriptedHypervisor) -> None:
    hv.answers("H_SVM_PAGE_IN", first(lambda hv: offered_moves(hv, 2), refuse(REFUSED)), refuse(REFUSED))
    assert share(hv) is UCode.U_P2
    assert svm_of(hv).state is UvVmState.ABORT
    assert [state_of(hv, gfn) for gfn in range(8)] == [S.SECURE] * 8
    assert frame_of(hv, 2) == text("page 2")
    assert sound(hv)


def test_a_withdrawn_offer_ends_shared_but_unmapped(hv: ScriptedHypervisor) -> None:
    def keeps_it(hv: ScriptedHypervisor) -> None:
        assert inval(hv, 3).code is UCode.U_SUCCESS
        hv.fill(hv.ra(LPID, 3), text("mine"))

    hv.answers("H_SVM_PAGE_IN", afterwards(keeps_it))
    assert share(hv) is UCode.U_SUCCESS
    assert (state_of(hv, 3), mapped(hv, 3)) == (S.SHARED_INV, 0)
    assert hv.page(hv.ra(LPID, 3)) == text("mine")
    assert (frame_of(hv, 3), state_of(hv, 2)) == (ZERO, S.SHARED)
    assert sound(hv)


def second_offered(hv: ScriptedHypervisor) -> None:
    offered_moves(hv, 2)


@pytest.mark.parametrize(
    "answer",
    [pretend(), first(second_offered, pretend())],
    ids=["none offered", "one offered"],
)
def test_success_without_an_offer_ends_the_svm(hv: ScriptedHypervisor, answer: Answer) -> None:
    hv.answers("H_SVM_PAGE_IN", answer)
    assert share(hv) is UCode.U_P2
    assert svm_of(hv).state is UvVmState.ABORT
    assert [frame_of(hv, gfn) for gfn in GFNS] == [text(f"page {gfn}") for gfn in GFNS]
    assert [state_of(hv, gfn) for gfn in GFNS] == [S.SECURE] * 4
    assert (hv.uv.normal_pages.used, hv.uv.resident) == (0, 8)
    assert sound(hv)
    with pytest.raises(AccessFailure, match="aborted"):
        hv.load(LPID, 0, 1)
    assert share(hv) is UCode.U_STATE


def test_a_paged_out_page_in_the_range_comes_back_first(hv: ScriptedHypervisor) -> None:
    hv.page_out(LPID, 3, 4)
    assert share(hv) is UCode.U_SUCCESS
    assert [ask.request.flags for ask in hv.asked if isinstance(ask.request, SvmPageIn)] == [0, 0, 1]
    assert [state_of(hv, gfn) for gfn in GFNS] == [S.SHARED] * 4
    assert sound(hv)


FETCHES: dict[str, list[Answer]] = {
    "refused": [refuse(REFUSED)],
    "brought in words only": [pretend()] * 4,
}


@pytest.mark.parametrize("answers", FETCHES.values(), ids=FETCHES)
def test_a_paged_out_page_that_does_not_come_back(hv: ScriptedHypervisor, answers: list[Answer]) -> None:
    hv.page_out(LPID, 3)
    before = hv.uv.digest()
    hv.answers("H_SVM_PAGE_IN", *answers)
    assert share(hv) is UCode.U_P2
    assert hv.uv.digest() == before
    assert sound(hv)
    assert hv.page_in(LPID, 3).code is UCode.U_SUCCESS
    assert untouched(hv)


def test_a_paged_out_page_keeps_its_contents_through_a_refused_share(hv: ScriptedHypervisor) -> None:
    hv.page_out(LPID, 3)
    hv.answers("H_SVM_PAGE_IN", honest, refuse(REFUSED))
    assert share(hv) is UCode.U_P2
    assert untouched(hv)


def terminate(hv: ScriptedHypervisor) -> None:
    assert hv.ultracall(SvmTerminate(Lpid(LPID))).code is UCode.U_SUCCESS


TERMINATED: dict[str, Answer] = {
    "after the offer": afterwards(terminate),
    "success told": first(terminate, pretend()),
    "refused": first(terminate, refuse(REFUSED)),
    "no answer": first(terminate, silent()),
}


@pytest.mark.parametrize("answer", TERMINATED.values(), ids=TERMINATED)
def test_an_svm_that_is_terminated_meanwhile(hv: ScriptedHypervisor, answer: Answer) -> None:
    hv.answers("H_SVM_PAGE_IN", answer)
    assert share(hv) is UCode.U_INVALID
    assert len(hv.asked) == 1
    assert hv.uv.svm(LPID) is None
    assert (hv.uv.reserved, hv.uv.resident, hv.uv.normal_pages.used) == (0, 0, 0)


def test_an_svm_that_is_terminated_while_its_page_is_zeroed(hv: ScriptedHypervisor) -> None:
    ending: list[Held[Reply]] = []
    hv.during_transfer(lambda hv: ending.append(hv.terminating(LPID)))
    assert share(hv) is UCode.U_INVALID
    assert ending[0].finish().code is UCode.U_SUCCESS
    assert (hv.uv.reserved, hv.uv.resident, hv.uv.normal_pages.used) == (0, 0, 0)


@pytest.mark.parametrize("moment", ["before the offer", "after the offer", "while pages are zeroed"])
def test_an_svm_that_another_call_ends_meanwhile(hv: ScriptedHypervisor, moment: str) -> None:
    def another_vcpu(hv: ScriptedHypervisor) -> None:
        hv.answers("H_SVM_PAGE_IN", refuse(REFUSED))
        assert unshare(hv, 6, 1) is UCode.U_P2

    put(hv, 6, S.SHARED)
    if moment == "while pages are zeroed":
        hv.during_transfer(another_vcpu)
    else:
        hv.answers("H_SVM_PAGE_IN", (first if moment == "before the offer" else afterwards)(another_vcpu))
    assert share(hv) is UCode.U_P2
    assert svm_of(hv).state is UvVmState.ABORT
    assert [state_of(hv, gfn) for gfn in GFNS] == [S.SECURE] * 4
    assert [frame_of(hv, gfn) for gfn in GFNS] == [text(f"page {gfn}") for gfn in GFNS]
    assert sound(hv)


def test_pages_are_zeroed_before_the_call_returns_and_not_withdrawn_meanwhile(hv: ScriptedHypervisor) -> None:
    codes: list[UCode] = []
    hv.during_transfer(lambda hv: codes.extend(UCode(inval(hv, gfn).code) for gfn in GFNS))
    assert share(hv) is UCode.U_SUCCESS
    assert codes == [UCode.U_BUSY] * 4
    assert [hv.page(hv.ra(LPID, gfn)) for gfn in GFNS] == [ZERO] * 4
