"""UV_SHARE_PAGE while something else happens to its pages or its SVM."""

import pytest

from harness.held import Held
from harness.scripted_hypervisor import Answer, ScriptedHypervisor
from harness.scripted_peer import afterwards, first, honest, pretend, refuse, silent
from harness.shared_pages import (
    GFNS,
    REFUSED,
    inval,
    share,
    svm_of_secure_pages,
    terminate,
    unshare,
    untouched,
)
from harness.ultravisor_fixtures import LPID, ZERO, frame_of, mapped, put, sound, state_of, svm_of, text
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState


@pytest.fixture
def hv() -> ScriptedHypervisor:
    return svm_of_secure_pages()


def test_a_withdrawn_offer_ends_shared_but_unmapped(hv: ScriptedHypervisor) -> None:
    def keeps_it(hv: ScriptedHypervisor) -> None:
        assert inval(hv, 3) is UCode.U_SUCCESS
        hv.fill(hv.ra(LPID, 3), text("mine"))

    hv.answers("H_SVM_PAGE_IN", afterwards(keeps_it))
    assert share(hv) is UCode.U_SUCCESS
    assert (state_of(hv, 3), mapped(hv, 3)) == (S.SHARED_INV, 0)
    assert hv.page(hv.ra(LPID, 3)) == text("mine")
    assert (frame_of(hv, 3), state_of(hv, 2)) == (ZERO, S.SHARED)
    assert sound(hv)


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
    hv.during_transfer(lambda hv: codes.extend(inval(hv, gfn) for gfn in GFNS))
    assert share(hv) is UCode.U_SUCCESS
    assert codes == [UCode.U_BUSY] * 4
    assert [hv.page(hv.ra(LPID, gfn)) for gfn in GFNS] == [ZERO] * 4
