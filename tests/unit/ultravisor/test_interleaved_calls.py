"""Two calls at once: while one waits or moves bytes, another must neither see nor make a half-done thing.

Each test was written for a way in which a hostile Hypervisor could have used the gap between a check and its
effect: the check of a second run of the message is older than the transfer of the first.

Source: decisions, "a GFN with a hypercall or ultracall outstanding"; attacks 5, 6, 22, 23, 39.
"""

import pytest

from harness.held import Held
from harness.scripted_hypervisor import ScriptedHypervisor, guest
from harness.scripted_peer import first, refuse
from harness.ultravisor_fixtures import (
    LPID,
    ZERO,
    active_vm,
    frame_of,
    machine,
    put,
    secure_vm,
    sound,
    state_of,
    svm_of,
    text,
)
from pef_protocol.calls import Reply
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, Lpid, SlotId
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.states import UvVmState
from pef_protocol.ultracalls import PageIn, PageInval, PageOut, SharePage, UnregisterMemSlot, UnsharePage
from pef_ultravisor.gfn.columns import FRAME_POPULATED, IMPORTED, REQUESTED

SLOTS = ((0, 0, 4), (1, 4, 4))


@pytest.fixture
def hv() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv, LPID, *SLOTS)
    for gfn in range(8):
        put(hv, gfn, S.SECURE, frame=text(f"page {gfn}"))
    return hv


def nothing_is_left(hv: ScriptedHypervisor) -> bool:
    assert (hv.uv.resident, hv.uv.reserved, hv.uv.normal_pages.used) == (0, 0, 0)
    return sound(hv)


@pytest.mark.parametrize("gfns", [(2, 3), (2, 5)], ids=["one slot", "two slots"])
@pytest.mark.parametrize("call", ["page_in", "page_out"])
def test_a_page_of_a_message_that_is_under_way_is_busy(
    hv: ScriptedHypervisor, call: str, gfns: tuple[int, int]
) -> None:
    if call == "page_in":
        hv.page_out(LPID, *gfns)
    codes: list[UCode] = []

    def again(hv: ScriptedHypervisor) -> None:
        for gfn in gfns:
            codes.extend(UCode(made(LPID, gfn).code) for made in (hv.page_in, hv.page_out))

    hv.during_transfer(again)
    assert getattr(hv, call)(LPID, *gfns).code is UCode.U_SUCCESS
    assert codes == [UCode.U_P2] * 4
    if call == "page_out":
        hv.page_in(LPID, *gfns)
    assert [frame_of(hv, gfn) for gfn in gfns] == [text(f"page {gfn}") for gfn in gfns]
    assert sound(hv)


@pytest.mark.parametrize("slotid", [0, 1])
def test_no_slot_of_a_message_that_is_under_way_is_taken_away(hv: ScriptedHypervisor, slotid: int) -> None:
    codes: list[UCode] = []
    request = UnregisterMemSlot(Lpid(LPID), SlotId(slotid))
    hv.during_transfer(lambda hv: codes.append(UCode(hv.ultracall(request).code)))
    assert hv.page_out(LPID, 2, 5).code is UCode.U_SUCCESS
    assert codes == [UCode.U_BUSY]


@pytest.mark.parametrize("call", ["page_in", "page_out"])
def test_an_svm_that_is_terminated_under_way_leaves_nothing(hv: ScriptedHypervisor, call: str) -> None:
    put(hv, 6, S.SHARED_INV)
    if call == "page_in":
        hv.page_out(LPID, 2, 5)
    ending: list[Held[Reply]] = []
    hv.during_transfer(lambda hv: ending.append(hv.terminating(LPID)))
    assert getattr(hv, call)(LPID, 2, 5, *([6] if call == "page_in" else [])).code is UCode.U_PARAMETER
    assert ending[0].finish().code is UCode.U_SUCCESS
    assert hv.uv.svm(LPID) is None
    assert nothing_is_left(hv)


def test_a_shared_page_is_not_mapped_for_an_svm_that_is_gone(hv: ScriptedHypervisor) -> None:
    hv.page_out(LPID, 2)
    put(hv, 5, S.SHARED_INV)
    ending: list[Held[Reply]] = []
    hv.during_transfer(lambda hv: ending.append(hv.terminating(LPID)))
    hv.page_in(LPID, 2, 5)
    assert ending[0].finish().code is UCode.U_SUCCESS
    assert nothing_is_left(hv)


def test_one_page_is_not_mapped_twice_by_two_messages(hv: ScriptedHypervisor) -> None:
    hv.page_out(LPID, 2)
    for gfn in (5, 6):
        put(hv, gfn, S.SHARED_INV)
    spare = hv.spare()
    second = PageIn(Lpid(LPID), PlacedRuns.of((spare, 6 << PAGE_ORDER, 1)), 0, PAGE_ORDER)
    codes: list[UCode] = []
    hv.during_transfer(lambda hv: codes.append(UCode(hv.ultracall(second).code)))
    runs = PlacedRuns.of((hv.ra(LPID, 2), 2 << PAGE_ORDER, 1), (spare, 5 << PAGE_ORDER, 1))
    assert hv.ultracall(PageIn(Lpid(LPID), runs, 0, PAGE_ORDER)).code is UCode.U_SUCCESS
    assert codes == [UCode.U_P2]
    assert sound(hv)


def test_an_svm_that_is_aborted_under_way_gives_nothing_back_in_clear(hv: ScriptedHypervisor) -> None:
    """The plaintext of the second slot must not leave because the SVM is aborted while the first moves."""
    put(hv, 7, S.SHARED)
    target = hv.spare(2)
    hv.answers("H_SVM_PAGE_IN", refuse(HCode.H_PARAMETER))
    hv.during_transfer(lambda hv: hv.ultracall(UnsharePage(Gfn(7), 1), guest(LPID)))
    runs = PlacedRuns.of((target, 2 << PAGE_ORDER, 1), (target + PAGE_SIZE, 5 << PAGE_ORDER, 1))
    reply = hv.ultracall(PageOut(Lpid(LPID), runs, 0, PAGE_ORDER))
    assert svm_of(hv).state is UvVmState.ABORT
    assert reply.code in {UCode.U_SUCCESS, UCode.U_STATE}
    for at, gfn in enumerate((2, 5)):
        assert text(f"page {gfn}")[:16] not in hv.page(target + at * PAGE_SIZE)
    assert sound(hv)


def test_a_resident_page_is_not_scrubbed_by_a_page_in_that_comes_second() -> None:
    hv = machine()
    svm = active_vm(hv, LPID, (0, 0, 4))
    slot = svm.slots.holding(0)
    assert slot is not None
    put(hv, 1, S.SECURE, frame=text("measured"))
    slot.mark(slice(1, 2), IMPORTED)
    hv.page_out(LPID, 1)
    slot.mark(slice(0, 1), REQUESTED)
    svm.open_calls += 1
    codes: list[UCode] = []
    hv.during_transfer(lambda hv: codes.append(UCode(hv.page_in(LPID, 1).code)))
    assert hv.page_in(LPID, 0, 1).code is UCode.U_SUCCESS
    assert codes == [UCode.U_P2]
    assert (state_of(hv, 1), frame_of(hv, 1)) == (S.SECURE, text("measured"))


def test_an_import_that_breaks_off_leaves_no_bytes_behind() -> None:
    hv = machine()
    svm = active_vm(hv, LPID, (0, 0, 4))
    slot = svm.slots.holding(0)
    assert slot is not None
    slot.mark(slice(0, 4), REQUESTED)
    svm.open_calls += 1
    for gfn in range(4):
        hv.fill(hv.ra(LPID, gfn), text("implant"))
    spare = hv.spare()
    runs = PlacedRuns.of((hv.ra(LPID, 0), 0, 1), (spare, 1 << PAGE_ORDER, 1))
    hv.bus_fails(after=1)
    assert hv.ultracall(PageIn(Lpid(LPID), runs, 0, PAGE_ORDER)).code is UCode.U_BUSY
    assert [frame_of(hv, gfn) for gfn in (0, 1)] == [ZERO] * 2
    assert not slot.marked(slice(None), IMPORTED | FRAME_POPULATED).any()
    assert svm.resident == 0


def test_a_slot_is_not_taken_away_under_an_open_share(hv: ScriptedHypervisor) -> None:
    codes: list[UCode] = []
    request = UnregisterMemSlot(Lpid(LPID), SlotId(0))
    hv.answers("H_SVM_PAGE_IN", first(lambda hv: codes.append(UCode(hv.ultracall(request).code))))
    assert hv.ultracall(SharePage(Gfn(2), 1), guest(LPID)).code is UCode.U_SUCCESS
    assert codes == [UCode.U_BUSY]


def test_a_page_that_is_shared_again_is_not_taken_away_before_it_is_zero(hv: ScriptedHypervisor) -> None:
    put(hv, 4, S.SHARED, page=text("mail"))
    codes: list[UCode] = []

    def takes_it(hv: ScriptedHypervisor) -> None:
        inval = PageInval(Lpid(LPID), PageRuns.of((4 << PAGE_ORDER, 1)), PAGE_ORDER)
        unregister = UnregisterMemSlot(Lpid(LPID), SlotId(1))
        codes.extend(UCode(hv.ultracall(request).code) for request in (unregister, inval))

    hv.answers("H_SVM_PAGE_IN", first(takes_it))
    assert hv.ultracall(SharePage(Gfn(3), 2), guest(LPID)).code is UCode.U_SUCCESS
    assert codes == [UCode.U_BUSY] * 2
    assert hv.page(hv.ra(LPID, 4)) == ZERO
    assert sound(hv)


def test_a_secure_page_of_an_unshare_is_not_paged_out_before_it_is_zero(hv: ScriptedHypervisor) -> None:
    put(hv, 3, S.SHARED)
    codes: list[UCode] = []
    hv.answers("H_SVM_PAGE_IN", first(lambda hv: codes.append(UCode(hv.page_out(LPID, 2).code))))
    assert hv.ultracall(UnsharePage(Gfn(2), 2), guest(LPID)).code is UCode.U_SUCCESS
    assert codes == [UCode.U_BUSY]
    assert hv.load(LPID, 2 << PAGE_ORDER, PAGE_SIZE) == ZERO


def test_two_calls_for_other_pages_go_on_side_by_side(hv: ScriptedHypervisor) -> None:
    codes: list[UCode] = []
    hv.during_transfer(lambda hv: codes.append(UCode(hv.page_out(LPID, 3, 6).code)))
    assert hv.page_out(LPID, 2, 5).code is UCode.U_SUCCESS
    assert codes == [UCode.U_SUCCESS]
    assert hv.page_in(LPID, 2, 3, 5, 6).code is UCode.U_SUCCESS
    assert [frame_of(hv, gfn) for gfn in range(8)] == [text(f"page {gfn}") for gfn in range(8)]
