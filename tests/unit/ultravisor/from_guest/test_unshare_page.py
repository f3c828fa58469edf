"""UV_UNSHARE_PAGE and UV_UNSHARE_ALL_PAGES: a page comes back zero, or the Hypervisor breaks the protocol.

Source: ultravisor.rst, the calls of these names; decisions, "unshare-all with a refusal"; attacks 17, 19, 20.
"""

import pytest

from harness.scripted_hypervisor import Answer, ScriptedHypervisor, busy
from harness.scripted_peer import afterwards, first, refuse, silent
from harness.shared_pages import (
    KEPT,
    REFUSED,
    inval,
    states,
    svm_with_shared_pages,
    terminate,
    unshare,
    unshare_all,
)
from harness.ultravisor_fixtures import LPID, ZERO, frame_of, mapped, sound, state_of, svm_of, text
from pef_kit.core.effects import MAX_ATTEMPTS
from pef_protocol.codes import UCode
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.quantities import PAGE_ORDER, U64_MAX, Lpid
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState


@pytest.fixture
def hv() -> ScriptedHypervisor:
    return svm_with_shared_pages()


def test_a_range_over_two_slots_comes_back_zero_whatever_it_held(hv: ScriptedHypervisor) -> None:
    assert unshare(hv, 0, 6) is UCode.U_SUCCESS
    runs = PageRuns.from_rows((first << PAGE_ORDER, count) for first, count in ((0, 1), (2, 2), (5, 1)))
    assert [ask.request for ask in hv.asked] == [SvmPageIn(Lpid(LPID), runs, 0, PAGE_ORDER)]
    assert states(hv) == [S.SECURE] * 6 + list(KEPT.values())
    assert [frame_of(hv, gfn) for gfn in range(6)] == [ZERO] * 6
    assert [mapped(hv, gfn) for gfn in range(6)] == [0] * 6
    assert hv.load(LPID, 0, 6 << PAGE_ORDER) == ZERO * 6
    assert sound(hv)


def test_what_the_hypervisor_puts_there_meanwhile_does_not_come_in(hv: ScriptedHypervisor) -> None:
    def implant(hv: ScriptedHypervisor) -> None:
        hv.fill(hv.ra(LPID, 2), text("implant"))

    hv.answers("H_SVM_PAGE_IN", first(implant))
    assert unshare(hv, 2, 1) is UCode.U_SUCCESS
    assert hv.load(LPID, 2 << PAGE_ORDER, 1 << PAGE_ORDER) == ZERO


@pytest.mark.parametrize("paged_out", [False, True])
def test_a_secure_page_is_zeroed_too(hv: ScriptedHypervisor, paged_out: bool) -> None:
    if paged_out:
        hv.page_out(LPID, 1)
    assert unshare(hv, 1, 1) is UCode.U_SUCCESS
    assert (state_of(hv, 1), frame_of(hv, 1)) == (S.SECURE, ZERO)
    assert len(hv.asked) == paged_out
    assert sound(hv)


def test_an_invalidated_page_comes_back(hv: ScriptedHypervisor) -> None:
    assert inval(hv, 2) is UCode.U_SUCCESS
    assert unshare(hv, 2, 1) is UCode.U_SUCCESS
    assert (state_of(hv, 2), frame_of(hv, 2)) == (S.SECURE, ZERO)


def test_a_page_that_is_invalidated_meanwhile_comes_back(hv: ScriptedHypervisor) -> None:
    hv.answers("H_SVM_PAGE_IN", first(lambda hv: inval(hv, 2)))
    assert unshare(hv, 2, 2) is UCode.U_SUCCESS
    assert states(hv)[2:4] == [S.SECURE] * 2
    assert sound(hv)


@pytest.mark.parametrize("num", [7, 8])
def test_a_page_of_the_ultravisors_own_stops_the_whole_range(hv: ScriptedHypervisor, num: int) -> None:
    before = hv.uv.digest()
    assert unshare(hv, 0, num) is UCode.U_P2
    assert hv.uv.digest() == before
    assert hv.asked == []


@pytest.mark.parametrize(
    ("gfn", "num", "code"),
    [
        (0, 0, UCode.U_SUCCESS),
        (5, U64_MAX, UCode.U_P2),
        (0, 9, UCode.U_P2),
        (8, 1, UCode.U_PARAMETER),
        (U64_MAX, U64_MAX, UCode.U_PARAMETER),
    ],
)
def test_ranges(hv: ScriptedHypervisor, gfn: int, num: int, code: UCode) -> None:
    before = hv.uv.digest()
    assert unshare(hv, gfn, num) is code
    assert hv.uv.digest() == before


def test_pages_are_not_paged_out_meanwhile(hv: ScriptedHypervisor) -> None:
    codes: list[UCode] = []

    def take(hv: ScriptedHypervisor) -> None:
        codes.extend(UCode(hv.page_out(LPID, gfn).code) for gfn in (2, 3))

    hv.answers("H_SVM_PAGE_IN", first(take))
    assert unshare(hv, 2, 2) is UCode.U_SUCCESS
    assert codes == [UCode.U_BUSY] * 2


REFUSALS: dict[str, list[Answer]] = {
    "refused": [refuse(REFUSED)],
    "no answer": [silent()],
}


@pytest.mark.parametrize("answers", REFUSALS.values(), ids=REFUSALS)
def test_a_hypervisor_that_keeps_a_page_ends_the_svm(hv: ScriptedHypervisor, answers: list[Answer]) -> None:
    hv.answers("H_SVM_PAGE_IN", *answers)
    assert unshare(hv, 2, 2) is UCode.U_P2
    assert svm_of(hv).state is UvVmState.ABORT
    assert states(hv)[2:4] == [S.SHARED_INV] * 2
    assert unshare(hv, 2, 2) is UCode.U_STATE
    assert sound(hv)


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_hypervisor_that_is_busy_for_ever_ends_nothing(hv: ScriptedHypervisor, all_of_them: bool) -> None:
    assert inval(hv, 3) is UCode.U_SUCCESS
    before = hv.uv.digest()
    hv.answers("H_SVM_PAGE_IN", *[busy()] * MAX_ATTEMPTS)
    assert (unshare_all(hv) if all_of_them else unshare(hv, 1, 3)) is UCode.U_BUSY
    assert hv.uv.digest() == before
    assert sound(hv)


def test_a_busy_hypervisor_is_asked_again(hv: ScriptedHypervisor) -> None:
    hv.answers("H_SVM_PAGE_IN", busy(), busy())
    assert unshare(hv, 2, 1) is UCode.U_SUCCESS


def test_an_svm_that_is_terminated_meanwhile(hv: ScriptedHypervisor) -> None:
    hv.answers("H_SVM_PAGE_IN", afterwards(terminate))
    assert unshare(hv, 2, 1) is UCode.U_INVALID
    assert (hv.uv.reserved, hv.uv.resident, hv.uv.normal_pages.used) == (0, 0, 0)
