"""When UV_PAGE_IN of a shared page is refused: every reading of `pushed`, at every moment.

A moment is a set of words: DONE where H_SVM_INIT_DONE is outstanding, ASKED where the Ultravisor has asked
for the page. A row says which shared pages are refused then: with a mapping (valid), without (invalid).

Source: "The three designs of the discussion", leads; decisions, "when a shared page is refused".
"""

from dataclasses import replace
from typing import Any, Final

import pytest

from harness.scripted_hypervisor import ScriptedHypervisor, guest
from harness.scripted_peer import first, honest
from harness.ultravisor_fixtures import (
    LPID,
    active_vm,
    frame_of,
    machine,
    mapped,
    place,
    put,
    secure_vm,
    sound,
    state_of,
    svm_of,
    text,
)
from pef_protocol.codes import UCode
from pef_protocol.designs import PUSHING, Design, DesignName
from pef_protocol.quantities import (
    H_PAGE_IN_FAULT,
    H_PAGE_IN_SHARED,
    PAGE_ORDER,
    U_PAGE_IN_SECURE,
    Gfn,
    Lpid,
)
from pef_protocol.runs import PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import PageIn, SharePage
from pef_ultravisor.designs import DESIGNS
from pef_ultravisor.gfn.columns import HCALL_PENDING, IMPORTED, RESERVED
from pef_ultravisor.gfn.table import INVALIDATED, VALID
from pef_ultravisor.state import Svm

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


# Settings that no built-in design has: each alone, in a design that is otherwise a built-in one


def turn(patch: pytest.MonkeyPatch, svm: Svm, base: Design, **settings: object) -> None:
    """Give an SVM a design that is `base` with other settings."""
    changes: dict[str, Any] = settings
    row = replace(DESIGNS[base], name=DesignName("turned"), **changes)
    patch.setattr("pef_ultravisor.state.DESIGNS", {**DESIGNS, row.name: row})
    svm.design = row.name


def page_in(hv: ScriptedHypervisor, flags: int) -> UCode:
    """Send UV_PAGE_IN for GFN with flags."""
    runs = PlacedRuns.from_rows([(hv.ra(LPID, GFN), GFN << PAGE_ORDER, 1)])
    return UCode(hv.ultracall(PageIn(Lpid(LPID), runs, flags, PAGE_ORDER)).code)


def seen_while_asked(hv: ScriptedHypervisor) -> list[tuple[int, int, int]]:
    """Load GFN; return flags of each H_SVM_PAGE_IN, and marks and open calls of the GFN meanwhile."""
    seen: list[tuple[int, int, int]] = []

    def note(peer: ScriptedHypervisor) -> None:
        slot, at = place(peer, GFN)
        request: Any = peer.asked[-1].request
        seen.append((request.flags, int(slot.marks[at]) & (HCALL_PENDING | RESERVED), slot.calls_in_flight))

    hv.answers("H_SVM_PAGE_IN", first(note, honest))
    hv.load(LPID, GFN << PAGE_ORDER, 8)
    return seen


@pytest.mark.parametrize(
    ("reflects", "seen"), [(True, (H_PAGE_IN_FAULT, 0, 0)), (False, (1, HCALL_PENDING, 1))]
)
def test_a_fault_on_an_invalidated_page_is_reflected_and_nothing_waits(
    monkeypatch: pytest.MonkeyPatch, seen: tuple[int, int, int], *, reflects: bool
) -> None:
    hv = machine()
    turn(monkeypatch, secure_vm(hv), Design.TRACKED, reflects_faults=reflects)
    put(hv, GFN, S.SHARED_INV, page=text("mail"))
    assert seen_while_asked(hv) == [seen]
    assert state_of(hv, GFN) is S.SHARED
    assert sound(hv)


def test_a_share_of_an_invalidated_page_asks_though_faults_are_reflected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hv = machine()
    turn(monkeypatch, secure_vm(hv), Design.TRACKED, reflects_faults=True)
    put(hv, GFN, S.SHARED_INV)
    assert hv.ultracall(SharePage(Gfn(GFN), 1), guest(LPID)).code is UCode.U_SUCCESS
    requests: list[Any] = [ask.request for ask in hv.asked]
    assert [request.flags for request in requests] == [H_PAGE_IN_SHARED]


@pytest.mark.parametrize(("marks", "mark"), [(True, HCALL_PENDING), (False, 0)])
def test_a_page_that_is_asked_for_is_marked_or_not_and_has_its_room(
    monkeypatch: pytest.MonkeyPatch, mark: int, *, marks: bool
) -> None:
    hv = machine()
    turn(monkeypatch, secure_vm(hv), Design.TRACKED, marks_hypercalls=marks)
    put(hv, GFN, S.PAGEDOUT, frame=text("text"))
    assert seen_while_asked(hv) == [(0, mark | RESERVED, 1)]
    assert frame_of(hv, GFN) == text("text")
    assert sound(hv)


@pytest.mark.parametrize(("copies", "code"), [(True, UCode.U_SUCCESS), (False, UCode.U_P3)])
def test_until_the_vm_is_secure_what_comes_for_a_paged_out_page_is_copied(
    monkeypatch: pytest.MonkeyPatch, code: UCode, *, copies: bool
) -> None:
    hv = machine()
    turn(monkeypatch, active_vm(hv), Design.TRACKED, copies_until_secure=copies)
    put(hv, GFN, S.PAGEDOUT, frame=text("text"))
    hv.fill(hv.ra(LPID, GFN), text("host"))
    assert page_in(hv, 0) is code
    assert (frame_of(hv, GFN) == text("host")) is copies
    assert sound(hv)


def test_a_paged_out_page_of_a_secure_vm_is_verified_under_each_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hv = machine()
    turn(monkeypatch, secure_vm(hv), Design.TRACKED, copies_until_secure=True)
    put(hv, GFN, S.PAGEDOUT, frame=text("text"))
    hv.fill(hv.ra(LPID, GFN), text("host"))
    assert page_in(hv, 0) is UCode.U_P3


@pytest.mark.parametrize("state", [*VALID, *INVALIDATED])
def test_shared_may_have_a_code_of_its_own_which_a_resident_page_has_not(
    monkeypatch: pytest.MonkeyPatch, state: S
) -> None:
    hv = machine()
    svm = active_vm(hv)
    turn(monkeypatch, svm, Design.PUSHED, shared_code=UCode.U_PARAMETER)
    svm.done_outstanding = True
    put(hv, GFN, state)
    assert page_in(hv, 0) is UCode.U_PARAMETER
    put(hv, GFN, S.SECURE)
    slot, at = place(hv, GFN)
    slot.mark(slice(at, at + 1), IMPORTED)
    assert page_in(hv, 0) is UCode.U_P2


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("state", [*VALID, *INVALIDATED])
def test_a_shared_page_is_refused_where_the_flag_says_that_it_is_to_be_secure(
    monkeypatch: pytest.MonkeyPatch, state: S, *, done: bool
) -> None:
    hv = machine()
    svm = active_vm(hv)
    turn(monkeypatch, svm, Design.PUSHED, reads_intent=True)
    svm.done_outstanding = done
    put(hv, GFN, state)
    assert (page_in(hv, U_PAGE_IN_SECURE), state_of(hv, GFN)) == (UCode.U_P2, state)
    assert (page_in(hv, 0), state_of(hv, GFN)) == (UCode.U_SUCCESS, MADE_VALID.get(state, state))


def test_a_flag_lets_no_page_in_that_would_not_come_in_without(monkeypatch: pytest.MonkeyPatch) -> None:
    hv = machine()
    svm = active_vm(hv)
    turn(monkeypatch, svm, Design.PUSHED, reads_intent=True)
    assert page_in(hv, U_PAGE_IN_SECURE) is UCode.U_P2
    svm.done_outstanding = True
    assert page_in(hv, U_PAGE_IN_SECURE) is UCode.U_SUCCESS


@pytest.mark.parametrize(("reads", "flags"), [(False, U_PAGE_IN_SECURE), (True, 2), (True, 1 << 63 | 1)])
def test_a_flag_that_the_design_does_not_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, flags: int, *, reads: bool
) -> None:
    hv = machine()
    svm = active_vm(hv)
    turn(monkeypatch, svm, Design.PUSHED, reads_intent=reads)
    svm.done_outstanding = True
    assert page_in(hv, flags) is UCode.U_P4
