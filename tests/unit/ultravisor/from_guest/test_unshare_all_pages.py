"""UV_UNSHARE_ALL_PAGES: each page that the SVM shared comes back zero."""

import pytest

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.scripted_peer import afterwards, refuse
from harness.shared_pages import (
    KEPT,
    REFUSED,
    SHARED,
    inval,
    states,
    svm_with_shared_pages,
    terminate,
    unshare_all,
)
from harness.ultravisor_fixtures import LPID, ZERO, frame_of, sound, state_of, svm_of, text
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState


@pytest.fixture
def hv() -> ScriptedHypervisor:
    return svm_with_shared_pages()


def test_all_that_the_svm_shared_comes_back(hv: ScriptedHypervisor) -> None:
    assert inval(hv, 3) is UCode.U_SUCCESS
    assert unshare_all(hv) is UCode.U_SUCCESS
    assert states(hv) == [S.SECURE] * 6 + list(KEPT.values())
    assert [frame_of(hv, gfn) for gfn in SHARED] == [ZERO] * 4
    assert [frame_of(hv, gfn) for gfn in (1, 4, 7)] == [text(f"page {gfn}") for gfn in (1, 4, 7)]
    assert hv.uv.normal_pages.used == 2
    assert sound(hv)


@pytest.mark.parametrize("turn", [1, 2])
def test_a_refusal_leaves_the_rest_shared_and_can_be_tried_again(hv: ScriptedHypervisor, turn: int) -> None:
    hv.at(turn, refuse(REFUSED))
    assert unshare_all(hv) is UCode.U_RETRY
    assert svm_of(hv).state is UvVmState.SECURE
    left = [gfn for gfn in SHARED if state_of(hv, gfn) in {S.SHARED, S.SHARED_INV}]
    assert left == (list(SHARED) if turn == 1 else [5])
    assert sound(hv)
    hv.load(LPID, 5 << PAGE_ORDER, 1)
    assert hv.load(LPID, 5 << PAGE_ORDER, 1 << PAGE_ORDER) == text("mail 5")
    assert unshare_all(hv) is UCode.U_SUCCESS
    assert states(hv)[:6] == [S.SECURE] * 6


@pytest.mark.parametrize("turn", [1, 2])
def test_all_of_an_svm_that_is_terminated_meanwhile(hv: ScriptedHypervisor, turn: int) -> None:
    hv.at(turn, afterwards(terminate))
    assert unshare_all(hv) is UCode.U_INVALID
    assert (hv.uv.reserved, hv.uv.resident, hv.uv.normal_pages.used) == (0, 0, 0)


def test_all_of_an_svm_that_another_call_ends_meanwhile(hv: ScriptedHypervisor) -> None:

    def ends(hv: ScriptedHypervisor) -> None:
        svm_of(hv).state = UvVmState.ABORT

    hv.at(1, afterwards(ends))
    assert unshare_all(hv) is UCode.U_RETRY
    assert state_of(hv, 5) is S.SHARED_INV
    assert sound(hv)
