"""UV_SHARE_PAGE: a page is shared and zero, or everything is as it was.

Source: ultravisor.rst, UV_SHARE_PAGE; decisions on shares that are refused or withdrawn; attacks 16, 18, 39.
"""

import pytest

from harness.scripted_hypervisor import Answer, ScriptedHypervisor, busy
from harness.scripted_peer import first, pretend, refuse, silent
from harness.shared_pages import GFNS, REFUSED, inval, share, svm_of_secure_pages, unshare, untouched
from harness.ultravisor_fixtures import (
    LPID,
    ZERO,
    frame_of,
    machine,
    mapped,
    secure_vm,
    sound,
    state_of,
    svm_of,
    text,
)
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.codes import HCode, UCode
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.quantities import PAGE_ORDER, U64_MAX, Lpid
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import SvmTerminate
from pef_ultravisor.access import AccessFailure


@pytest.fixture
def hv() -> ScriptedHypervisor:
    return svm_of_secure_pages()


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
    assert inval(hv, 2) is UCode.U_SUCCESS


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
