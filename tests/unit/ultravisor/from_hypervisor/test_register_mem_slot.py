"""UV_REGISTER_MEM_SLOT."""

import mmap
from itertools import count
from typing import Any

import pytest

from harness.scripted_hypervisor import ScriptedHypervisor
from harness.scripted_peer import first, refuse
from harness.ultravisor_fixtures import (
    LPID,
    ZERO,
    active_vm,
    frame_of,
    machine,
    secure_vm,
    sound,
    state_of,
    svm_of,
)
from pef_kit.core import allocation
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.hypercalls import SvmPageIn
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, U64_MAX, Gpa, Lpid, SlotId
from pef_protocol.runs import PageRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import RegisterMemSlot, UnregisterMemSlot

TIB = 1 << 40


@pytest.fixture
def hv() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv, LPID, (0, 16, 8))
    return hv


def register(hv: ScriptedHypervisor, start: int, size: int, slotid: int = 1, flags: int = 0) -> UCode:
    request = RegisterMemSlot(Lpid(LPID), Gpa(start), size, flags, SlotId(slotid))
    return UCode(hv.ultracall(request).code)


def unregister(hv: ScriptedHypervisor, slotid: int = 0) -> UCode:
    return UCode(hv.ultracall(UnregisterMemSlot(Lpid(LPID), SlotId(slotid))).code)


def gpa(gfn: int) -> int:
    return gfn << PAGE_ORDER


@pytest.mark.parametrize("mappings", range(6))
def test_a_slot_for_which_there_is_no_memory_is_refused_and_changes_nothing(
    hv: ScriptedHypervisor, monkeypatch: pytest.MonkeyPatch, mappings: int
) -> None:
    """The kernel refuses its frames, or one of its columns: whichever of the six comes first."""
    before, original, made = hv.uv.digest(), mmap.mmap, count()

    def refuse_one(*asked: Any) -> mmap.mmap:
        if next(made) == mappings:
            raise OSError(12, "Cannot allocate memory")
        return original(*asked)

    monkeypatch.setattr(allocation, "LARGE", 1)
    monkeypatch.setattr(mmap, "mmap", refuse_one)
    assert register(hv, gpa(32), 8 * PAGE_SIZE) is UCode.U_RETRY
    monkeypatch.undo()
    assert hv.uv.digest() == before
    assert register(hv, gpa(32), 8 * PAGE_SIZE) is UCode.U_SUCCESS


REFUSED = {
    "a start within a page": (gpa(32) + 1, PAGE_SIZE, 1, UCode.U_P2),
    "the last address": (U64_MAX, PAGE_SIZE, 1, UCode.U_P2),
    "no size": (gpa(32), 0, 1, UCode.U_P3),
    "half a page": (gpa(32), PAGE_SIZE // 2, 1, UCode.U_P3),
    "a page and a half": (gpa(32), PAGE_SIZE * 3 // 2, 1, UCode.U_P3),
    "a range that wraps": (U64_MAX + 1 - PAGE_SIZE, 2 * PAGE_SIZE, 1, UCode.U_P3),
    "a range that ends at 2**64": (U64_MAX + 1 - PAGE_SIZE, PAGE_SIZE, 1, UCode.U_P3),
    "a range of everything": (0, U64_MAX + 1 - PAGE_SIZE, 1, UCode.U_P3),
    "an id over all": (gpa(32), PAGE_SIZE, 512, UCode.U_P5),
    "an id that is 0 in 16 bits": (gpa(32), PAGE_SIZE, 1 << 16, UCode.U_P5),
    "an id in use": (gpa(32), PAGE_SIZE, 0, UCode.U_P5),
    "the same slot again": (gpa(16), 8 * PAGE_SIZE, 0, UCode.U_P5),
    "an overlap from below": (gpa(15), 2 * PAGE_SIZE, 1, UCode.U_P2),
    "an overlap from above": (gpa(23), 2 * PAGE_SIZE, 1, UCode.U_P2),
    "an overlap inside": (gpa(18), PAGE_SIZE, 1, UCode.U_P2),
    "an overlap around": (gpa(0), 64 * PAGE_SIZE, 1, UCode.U_P2),
    "more than secure memory holds": (gpa(32), 300 * PAGE_SIZE, 1, UCode.U_RETRY),
}


@pytest.mark.parametrize(("start", "size", "slotid", "code"), REFUSED.values(), ids=REFUSED)
def test_refused(hv: ScriptedHypervisor, start: int, size: int, slotid: int, code: UCode) -> None:
    before = hv.uv.digest()
    assert register(hv, start, size, slotid) is code
    assert hv.uv.digest() == before
    assert hv.asked == []


@pytest.mark.parametrize("start", [gpa(15), gpa(24), 0])
@pytest.mark.parametrize("slotid", [1, 511])
def test_a_plugged_slot_is_secure_and_zero_without_a_page_in(
    hv: ScriptedHypervisor, start: int, slotid: int
) -> None:
    assert register(hv, start, PAGE_SIZE, slotid) is UCode.U_SUCCESS
    gfn = start >> PAGE_ORDER
    assert (state_of(hv, gfn), frame_of(hv, gfn)) == (S.SECURE, ZERO)
    assert hv.load(LPID, start, PAGE_SIZE) == ZERO
    assert (hv.asked, hv.uv.resident) == ([], 9)
    assert sound(hv)


def test_slots_of_64_tib_cost_nothing_until_they_are_used() -> None:
    hv = machine()
    active_vm(hv, LPID, (0, 0, 1))
    assert register(hv, TIB, 63 * TIB, 1) in {UCode.U_SUCCESS, UCode.U_RETRY}
    assert register(hv, 64 * TIB, PAGE_SIZE, 2) is UCode.U_P3
    assert register(hv, 64 * TIB - PAGE_SIZE, PAGE_SIZE, 2) in {UCode.U_P2, UCode.U_SUCCESS}


@pytest.mark.parametrize("design", [Design.EAGER, Design.BROKEN])
def test_two_designs_ask_for_the_pages_and_pass_a_refusal_over(
    hv: ScriptedHypervisor, design: Design
) -> None:
    svm_of(hv).design = design
    hv.answers("H_SVM_PAGE_IN", refuse(HCode.H_PARAMETER))
    assert register(hv, gpa(32), 4 * PAGE_SIZE) is UCode.U_SUCCESS
    runs = PageRuns.of((gpa(32), 4))
    assert [ask.request for ask in hv.asked] == [SvmPageIn(Lpid(LPID), runs, 0, PAGE_ORDER)]
    assert hv.load(LPID, gpa(32), 8) == bytes(8)
    assert sound(hv)


@pytest.mark.parametrize("design", [Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED])
def test_the_other_designs_do_not_ask(hv: ScriptedHypervisor, design: Design) -> None:
    svm_of(hv).design = design
    assert register(hv, gpa(32), 4 * PAGE_SIZE) is UCode.U_SUCCESS
    assert hv.asked == []


def test_a_slot_that_is_taken_away_while_room_is_made_for_another() -> None:
    hv = machine(secure_pages=8)
    secure_vm(hv, LPID, (0, 16, 8))
    hv.answers("H_SVM_PAGE_OUT", first(lambda hv: unregister(hv, 0), refuse(HCode.H_PARAMETER)))
    assert register(hv, gpa(32), 4 * PAGE_SIZE) is UCode.U_SUCCESS
    assert hv.uv.resident == 4
    assert sound(hv)
