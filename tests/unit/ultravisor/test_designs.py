"""When UV_PAGE_IN of a shared page is refused: every reading of `pushed`, at every moment.

A moment is a set of words: DONE where H_SVM_INIT_DONE is outstanding, ASKED where the Ultravisor has asked
for the page. A row says which shared pages are refused then: with a mapping (valid), without (invalid).

Source: "The three designs of the discussion", leads; decisions, "when a shared page is refused".
"""

from typing import Final

import pytest

from harness.ultravisor_fixtures import (
    LPID,
    active_vm,
    machine,
    mapped,
    place,
    put,
    sound,
    state_of,
    svm_of,
    text,
)
from pef_protocol.codes import UCode
from pef_protocol.designs import PUSHING, Design
from pef_protocol.states import UvGfnState as S
from pef_ultravisor.designs import DESIGNS
from pef_ultravisor.gfn.columns import HCALL_PENDING
from pef_ultravisor.gfn.table import INVALIDATED, VALID

GFN: Final = 18
BOTH: Final = "valid invalid"
MOMENTS: Final = ("", "ASKED", "DONE", "DONE ASKED")
REFUSED: Final = {
    Design.EAGER: ("", "", "", ""),
    Design.BROKEN: ("", "", "", ""),
    Design.TRACKED: ("", "", "", ""),
    Design.TRACKED_PAGEIN: ("", "", "", ""),
    Design.PUSHED: ("", "", BOTH, BOTH),
    Design.PUSHED_VALID: ("", "", "valid", "valid"),
    Design.PUSHED_INVALIDATED: ("", "", "invalid", "invalid"),
    Design.PUSHED_ALWAYS: (BOTH, BOTH, BOTH, BOTH),
    Design.PUSHED_UNASKED: (BOTH, "", BOTH, ""),
    Design.PUSHED_FIXED: ("", "", BOTH, BOTH),
}
MADE_VALID: Final = dict(zip(INVALIDATED, VALID, strict=True))


@pytest.mark.parametrize("state", [*VALID, *INVALIDATED])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("design", Design)
def test_a_shared_page_is_refused_when_the_reading_says_so(design: Design, moment: str, state: S) -> None:
    hv = machine()
    svm = active_vm(hv)
    put(hv, GFN, state, page=text("mail"))
    before = mapped(hv, GFN)
    slot, at = place(hv, GFN)
    slot.mark(slice(at, at + 1), HCALL_PENDING if "ASKED" in moment else 0)
    svm.design, svm.done_outstanding = design, "DONE" in moment
    code = hv.page_in(LPID, GFN).code
    kind = "valid" if state in VALID else "invalid"
    if kind in REFUSED[design][MOMENTS.index(moment)].split():
        assert (code, state_of(hv, GFN), mapped(hv, GFN)) == (UCode.U_P2, state, before)
    else:
        expected = (UCode.U_SUCCESS, MADE_VALID.get(state, state), hv.ra(LPID, GFN))
        assert (code, state_of(hv, GFN), mapped(hv, GFN)) == expected
    assert hv.page(hv.ra(LPID, GFN)) == text("mail")


@pytest.mark.parametrize("design", sorted(PUSHING))
def test_no_reading_is_in_the_way_of_an_open_share_or_of_a_page_on_its_way_back(design: Design) -> None:
    hv = machine()
    active_vm(hv)
    svm_of(hv).design = design
    put(hv, GFN, S.PAGEDOUT, frame=text("text"))
    assert hv.page_in(LPID, GFN).code is UCode.U_SUCCESS
    assert sound(hv)
    put(hv, GFN + 1, S.HV_SHARING)
    assert hv.page_in(LPID, GFN + 1).code is UCode.U_SUCCESS
    assert (state_of(hv, GFN), state_of(hv, GFN + 1)) == (S.SECURE, S.HV_SHARED)


@pytest.mark.parametrize("design", sorted(PUSHING))
def test_what_was_never_imported_comes_in_while_done_is_outstanding_and_at_no_other_time(
    design: Design,
) -> None:
    hv = machine()
    svm = active_vm(hv)
    svm.design = design
    assert hv.page_in(LPID, GFN).code is UCode.U_P2
    svm.done_outstanding = True
    assert hv.page_in(LPID, GFN).code is UCode.U_SUCCESS


def test_every_design_has_its_settings() -> None:
    assert set(DESIGNS) == set(Design)
