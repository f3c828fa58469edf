"""The clock: pages not used lately leave secure memory, which is never exceeded.

Source: ultravisor.rst, H_SVM_PAGE_OUT; attack 41.
"""

import pytest

from harness.scripted_hypervisor import Answer, ScriptedHypervisor, guest
from harness.scripted_peer import first, pretend, refuse, silent
from harness.ultravisor_fixtures import (
    LPID,
    active_vm,
    frame_of,
    machine,
    place,
    put,
    secure_vm,
    sound,
    state_of,
    svm_of,
    text,
)
from pef_protocol.codes import HCode, UCode
from pef_protocol.designs import Design
from pef_protocol.hypercalls import SvmPageOut
from pef_protocol.quantities import PAGE_ORDER, Gfn, Gpa, Lpid, SlotId
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import RegisterMemSlot, SharePage, UnsharePage
from pef_ultravisor.gfn.columns import BUSY, HCALL_PENDING, IMPORTED, REFERENCED, REQUESTED
from pef_ultravisor.to_hypervisor.eviction import make_room

FIRST, COUNT = 16, 8
LPIDS = (1, 2, 3)


def crowded() -> ScriptedHypervisor:
    """Return a machine whose secure memory one SVM fills, all of its pages in use."""
    hv = machine(secure_pages=COUNT)
    secure_vm(hv, LPID, (0, FIRST, COUNT))
    for gfn in range(FIRST, FIRST + COUNT):
        put(hv, gfn, S.SECURE, frame=text(f"page {gfn}"))
    return hv


def mark(hv: ScriptedHypervisor, bit: int, *gfns: int) -> None:
    for gfn in gfns:
        slot, at = place(hv, gfn)
        slot.mark(slice(at, at + 1), bit)


def out(hv: ScriptedHypervisor) -> list[int]:
    """Return the GFNs of VM 1 that are paged out."""
    return [gfn for gfn in range(FIRST, FIRST + COUNT) if state_of(hv, gfn) is S.PAGEDOUT]


def room(hv: ScriptedHypervisor, pages: int) -> bool:
    """Make room for so many pages that are not there yet."""
    return hv.run(make_room(hv.uv, pages, new=True))


def test_nobody_is_asked_while_there_is_room() -> None:
    hv = machine(secure_pages=COUNT + 1)
    secure_vm(hv, LPID, (0, FIRST, COUNT))
    assert room(hv, 1)
    assert (hv.asked, hv.pauses) == ([], 0)


def test_nobody_is_asked_while_all_pages_of_all_svms_fit() -> None:
    hv = crowded()
    assert hv.run(make_room(hv.uv, COUNT))
    assert (hv.asked, hv.pauses) == ([], 0)


def test_a_page_that_was_used_is_spared_once() -> None:
    hv = crowded()
    mark(hv, REFERENCED, *range(FIRST, FIRST + 6))
    assert room(hv, 2)
    assert out(hv) == [FIRST + 6, FIRST + 7]
    assert room(hv, 4)
    assert out(hv) == [FIRST, FIRST + 1, FIRST + 6, FIRST + 7]
    assert sound(hv)


def test_the_clock_goes_on_where_it_stood() -> None:
    hv = crowded()
    for turn in range(COUNT):
        assert room(hv, 1)
        assert out(hv) == [FIRST + turn]
        assert hv.page_in(LPID, FIRST + turn).code is UCode.U_SUCCESS
        slot, at = place(hv, FIRST + turn)
        slot.unmark(slice(at, at + 1), REFERENCED)


def test_no_page_is_asked_for_twice_in_a_round() -> None:
    hv = crowded()
    mark(hv, REFERENCED, *range(FIRST + 4, FIRST + COUNT))
    assert room(hv, COUNT)
    pages = [ask.request.runs.pages for ask in hv.asked if isinstance(ask.request, SvmPageOut)]
    assert sum(pages) == COUNT
    assert len(out(hv)) == COUNT


@pytest.mark.parametrize("bit", [BUSY, HCALL_PENDING, REQUESTED])
def test_a_page_in_somebodys_hand_stays(bit: int) -> None:
    hv = crowded()
    mark(hv, bit, FIRST)
    assert room(hv, COUNT - 1)
    assert out(hv) == list(range(FIRST + 1, FIRST + COUNT))
    assert not room(hv, COUNT)


def test_more_than_there_is_is_refused_unasked() -> None:
    hv = crowded()
    assert not room(hv, COUNT + 1)
    assert hv.asked == []


ANSWERS: dict[str, Answer] = {
    "refused": refuse(HCode.H_PARAMETER),
    "no answer": silent(),
    "taken in words only": pretend(),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_hypervisor_that_takes_no_page_is_asked_a_bounded_number_of_times(answer: Answer) -> None:
    hv = crowded()
    hv.answers("H_SVM_PAGE_OUT", *[answer] * 1000)
    assert not room(hv, 2)
    assert len(hv.asked) <= 8
    assert out(hv) == []
    assert sound(hv)


def test_a_vm_that_becomes_secure_loses_only_pages_that_it_brought() -> None:
    hv = machine(secure_pages=4)
    svm = active_vm(hv, LPID, (0, FIRST, COUNT))
    mark(hv, IMPORTED, *range(FIRST, FIRST + 4))
    hv.vms[LPID].letters.update(dict.fromkeys(range(FIRST, FIRST + 4), "S"))
    assert svm.resident == 4
    assert room(hv, 2)
    assert out(hv) == [FIRST, FIRST + 1]
    assert svm.resident == 2


def test_an_aborted_svm_loses_none() -> None:
    hv = crowded()
    svm_of(hv).state = UvVmState.ABORT
    assert not room(hv, 1)
    assert hv.asked == []
    assert hv.uv.resident == COUNT


def test_svms_that_are_together_larger_than_secure_memory_all_run() -> None:
    hv = machine(secure_pages=12)
    for lpid in LPIDS:
        assert room(hv, COUNT)
        secure_vm(hv, lpid, (0, FIRST, COUNT))
    for turn in range(3):
        for lpid in LPIDS:
            for gfn in range(FIRST, FIRST + COUNT):
                before = f"{turn - 1} {lpid} {gfn}".encode() if turn else b""
                assert hv.load(lpid, gfn << PAGE_ORDER, 16).rstrip(b"\0") == before
                hv.store(lpid, gfn << PAGE_ORDER, f"{turn} {lpid} {gfn}".encode())
                assert sound(hv)
    assert hv.uv.resident <= 12


def test_an_access_larger_than_secure_memory_resolves() -> None:
    hv = machine(secure_pages=4)
    svm = secure_vm(hv, LPID, (0, FIRST, 1))
    svm.whole = False
    for first_gfn, slot_id in ((17, 1), (24, 2)):
        hv.vms[LPID].slots += [type(hv.vms[LPID].slots[0])(slot_id, first_gfn, 7, hv.spare(7))]
        assert hv.register(LPID, hv.vms[LPID].slots[-1]).code is UCode.U_SUCCESS
        gfns = range(first_gfn, first_gfn + 7)
        hv.vms[LPID].letters.update(dict.fromkeys(gfns, "S"))
        assert hv.page_out(LPID, *gfns).code is UCode.U_SUCCESS
    svm.whole = True
    content = bytes(range(256)) * (15 << 8)
    hv.store(LPID, FIRST << PAGE_ORDER, content)
    assert sound(hv)
    assert hv.load(LPID, FIRST << PAGE_ORDER, len(content)) == content
    assert hv.uv.resident <= 4


# Secure memory is never exceeded


def full() -> ScriptedHypervisor:
    """Return a machine whose secure memory is full, while two pages of the first slot are paged out."""
    hv = crowded()
    assert hv.page_out(LPID, FIRST, FIRST + 1).code is UCode.U_SUCCESS
    assert plug(hv, 2) is UCode.U_SUCCESS
    assert (hv.uv.resident, hv.uv.free) == (COUNT, 0)
    return hv


def plug(hv: ScriptedHypervisor, pages: int) -> UCode:
    """Plug a slot of so many pages into VM 1, at address 0."""
    request = RegisterMemSlot(Lpid(LPID), Gpa(0), pages << PAGE_ORDER, 0, SlotId(1))
    return UCode(hv.ultracall(request).code)


def test_a_page_in_that_finds_no_room_is_told_so() -> None:
    hv = full()
    before = hv.uv.digest()
    assert hv.page_in(LPID, FIRST).code is UCode.U_RETRY
    assert hv.uv.digest() == before
    assert hv.page_out(LPID, FIRST + 2).code is UCode.U_SUCCESS
    assert hv.page_in(LPID, FIRST).code is UCode.U_SUCCESS


def test_only_those_pages_of_a_page_in_are_refused_that_need_room() -> None:
    hv = machine(secure_pages=COUNT - 1)
    svm = active_vm(hv, LPID, (0, FIRST, COUNT))
    put(hv, FIRST, S.PAGEDOUT, frame=text("page"))
    svm.design, svm.done_outstanding, svm.whole = Design.PUSHED, True, True
    hv.fill(hv.ra(LPID, FIRST + 1), text("left over"))
    reply = hv.page_in(LPID, FIRST, FIRST + 1)
    assert list(reply.refused.coded()) == [(FIRST << PAGE_ORDER, 1, UCode.U_RETRY)]
    assert (state_of(hv, FIRST), frame_of(hv, FIRST + 1)) == (S.PAGEDOUT, text("left over"))
    assert (hv.uv.resident, hv.uv.reserved) == (COUNT - 1, 0)
    assert sound(hv)


def test_two_page_ins_at_once_do_not_take_the_same_room() -> None:
    hv = full()
    hv.page_out(LPID, FIRST + 2)
    codes: list[UCode] = []
    hv.during_transfer(lambda hv: codes.append(UCode(hv.page_in(LPID, FIRST + 1).code)))
    assert hv.page_in(LPID, FIRST).code is UCode.U_SUCCESS
    assert codes == [UCode.U_RETRY]
    assert (hv.uv.resident, hv.uv.reserved) == (COUNT, 0)
    assert sound(hv)


def test_the_room_of_a_page_whose_share_may_fail_is_kept() -> None:
    hv = full()
    codes: list[UCode] = []
    page_in: Answer = first(
        lambda hv: codes.append(UCode(hv.page_in(LPID, FIRST).code)), refuse(HCode.H_PARAMETER)
    )
    hv.answers("H_SVM_PAGE_IN", page_in)
    assert hv.ultracall(SharePage(Gfn(FIRST + 2), 1), guest(LPID)).code is UCode.U_P2
    assert codes == [UCode.U_RETRY]
    assert (hv.uv.resident, hv.uv.reserved) == (COUNT, 0)
    assert sound(hv)


def test_a_slot_plugged_into_a_secure_vm_waits_for_room() -> None:
    hv = crowded()
    assert plug(hv, 2) is UCode.U_SUCCESS
    assert out(hv) == [FIRST, FIRST + 1]
    assert hv.uv.resident == COUNT
    assert sound(hv)


@pytest.mark.parametrize("pages", [2, COUNT + 1])
def test_a_slot_for_which_there_is_no_room_is_refused(pages: int) -> None:
    hv = crowded()
    hv.answers("H_SVM_PAGE_OUT", *[refuse(HCode.H_PARAMETER)] * 8)
    before = hv.uv.digest()
    assert plug(hv, pages) is UCode.U_RETRY
    assert hv.uv.digest() == before


def test_the_same_slot_plugged_twice_at_once_is_registered_once() -> None:
    hv = crowded()
    codes: list[UCode] = []
    hv.answers("H_SVM_PAGE_OUT", first(lambda hv: codes.append(plug(hv, 2))))
    codes.append(plug(hv, 2))
    assert sorted(codes) == [UCode.U_P5, UCode.U_SUCCESS]
    assert sound(hv)


def test_an_unshare_that_finds_no_room_leaves_the_page_shared() -> None:
    hv = crowded()
    put(hv, FIRST, S.SHARED, page=text("mail"))
    assert plug(hv, 1) is UCode.U_SUCCESS
    hv.answers("H_SVM_PAGE_OUT", *[refuse(HCode.H_PARAMETER)] * 8)
    before = svm_of(hv).state, state_of(hv, FIRST), hv.page(hv.ra(LPID, FIRST))
    assert hv.ultracall(UnsharePage(Gfn(FIRST), 1), guest(LPID)).code is UCode.U_P2
    assert before == (UvVmState.SECURE, S.SHARED, text("mail"))
    assert before == (svm_of(hv).state, state_of(hv, FIRST), hv.page(hv.ra(LPID, FIRST)))
    hv.answers("H_SVM_PAGE_OUT")
    assert sound(hv)
