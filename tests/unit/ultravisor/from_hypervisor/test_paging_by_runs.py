"""UV_PAGE_IN, UV_PAGE_OUT and UV_PAGE_INVAL of many runs: where runs may lie, and who answers for which.

Source: ultravisor.rst, the calls of these names; decisions, order of checks; attacks 5-9, 13.
"""

import pytest

from harness.scripted_hypervisor import NORMAL_PAGES, ScriptedHypervisor
from harness.ultravisor_fixtures import LPID, frame_of, machine, mapped, put, secure_vm, sound, state_of, text
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.calls import Reply
from pef_protocol.codes import UCode
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, SECURE_BIT, U64_MAX, Lpid, PageOrder
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.states import UvGfnState as S
from pef_protocol.ultracalls import PageIn, PageInval, PageOut

SLOTS = ((0, 0, 4), (1, 4, 4))
END = NORMAL_BASE + (NORMAL_PAGES << PAGE_ORDER)


@pytest.fixture
def hv() -> ScriptedHypervisor:
    hv = machine()
    secure_vm(hv, LPID, *SLOTS)
    for gfn in range(8):
        put(hv, gfn, S.SECURE, frame=text(f"page {gfn}"))
    return hv


def gpa(gfn: int) -> int:
    return gfn << PAGE_ORDER


def page_in(hv: ScriptedHypervisor, *rows: tuple[int, int, int], flags: int = 0, order: int = 16) -> Reply:
    return hv.ultracall(PageIn(Lpid(LPID), PlacedRuns.of(*rows), flags, PageOrder(order)))


def page_out(hv: ScriptedHypervisor, *rows: tuple[int, int, int], flags: int = 0, order: int = 16) -> Reply:
    return hv.ultracall(PageOut(Lpid(LPID), PlacedRuns.of(*rows), flags, PageOrder(order)))


def inval(hv: ScriptedHypervisor, *rows: tuple[int, int]) -> Reply:
    return hv.ultracall(PageInval(Lpid(LPID), PageRuns.of(*rows), PAGE_ORDER))


NOT_NORMAL = {
    "address 0": 0,
    "below normal memory": NORMAL_BASE - PAGE_SIZE,
    "within a page": NORMAL_BASE + 8,
    "beyond normal memory": END,
    "partly beyond normal memory": END - PAGE_SIZE,
    "secure memory": SECURE_BIT | NORMAL_BASE,
    "the last page of all": U64_MAX + 1 - PAGE_SIZE,
    "the last address of all": U64_MAX,
}


@pytest.mark.parametrize("ra", NOT_NORMAL.values(), ids=NOT_NORMAL)
def test_what_is_not_normal_memory_is_neither_read_nor_written(hv: ScriptedHypervisor, ra: int) -> None:
    put(hv, 0, S.SHARED)
    put(hv, 1, S.SHARED)
    before, transfers = hv.uv.digest(), hv.transfers
    for reply in (page_in(hv, (ra, gpa(0), 2)), page_out(hv, (ra, gpa(2), 2))):
        assert (reply.code, hv.transfers) == (UCode.U_P2, transfers)
    assert hv.uv.digest() == before


def test_a_page_that_backs_another_gfn_is_neither_offered_nor_aimed_at(hv: ScriptedHypervisor) -> None:
    put(hv, 0, S.SHARED, page=text("mail"))
    put(hv, 1, S.SHARED)
    taken = hv.ra(LPID, 0)
    before = hv.uv.digest()
    assert page_in(hv, (taken, gpa(1), 1)).code is UCode.U_P2
    assert page_out(hv, (taken, gpa(2), 1)).code is UCode.U_P2
    assert page_out(hv, (hv.ra(LPID, 1), gpa(2), 1)).code is UCode.U_P2
    assert hv.uv.digest() == before
    assert hv.page(taken) == text("mail")


def test_a_page_that_backs_a_gfn_of_another_svm_is_out_of_reach(hv: ScriptedHypervisor) -> None:
    put(hv, 0, S.SHARED, page=text("mail"))
    other = secure_vm(hv, 2, (0, 0, 2))
    run = PlacedRuns.of((hv.ra(LPID, 0), gpa(1), 1))
    assert hv.ultracall(PageOut(Lpid(2), run, 0, PAGE_ORDER)).code is UCode.U_P2
    slot = other.slots.holding(1)
    assert slot is not None
    slot.put(slice(1, 2), S.SHARED_INV)
    assert hv.ultracall(PageIn(Lpid(2), run, 0, PAGE_ORDER)).code is UCode.U_P2
    assert hv.page(hv.ra(LPID, 0)) == text("mail")
    assert sound(hv)


def test_a_page_may_be_offered_again_where_it_is_and_another_in_its_stead(hv: ScriptedHypervisor) -> None:
    put(hv, 0, S.SHARED, page=text("mail"))
    own, new = hv.ra(LPID, 0), hv.spare()
    assert page_in(hv, (own, gpa(0), 1)).code is UCode.U_SUCCESS
    assert page_in(hv, (new, gpa(0), 1)).code is UCode.U_SUCCESS
    assert (mapped(hv, 0), hv.uv.normal_pages.used) == (new, 1)
    assert page_out(hv, (own, gpa(2), 1)).code is UCode.U_SUCCESS
    assert sound(hv)


def test_pages_do_not_change_places_within_a_message(hv: ScriptedHypervisor) -> None:
    for gfn in (0, 1):
        put(hv, gfn, S.SHARED)
    before = hv.uv.digest()
    one, other = hv.ra(LPID, 0), hv.ra(LPID, 1)
    assert page_in(hv, (other, gpa(0), 1), (one, gpa(1), 1)).code is UCode.U_P2
    assert page_in(hv, (one - PAGE_SIZE, gpa(0), 2)).code is UCode.U_P2
    assert hv.uv.digest() == before


def test_one_page_for_two_gfns_of_a_message_is_refused(hv: ScriptedHypervisor) -> None:
    spare = hv.spare(2)
    for gfn in (0, 5):
        put(hv, gfn, S.SHARED_INV)
    reply = page_in(hv, (spare, gpa(0), 1), (spare, gpa(5), 1))
    assert [code for _, _, code in reply.refused.coded()] == [UCode.U_P2] * 2
    reply = page_out(hv, (spare, gpa(2), 2), (spare + PAGE_SIZE, gpa(6), 1))
    assert [code for _, _, code in reply.refused.coded()] == [UCode.U_P2] * 2
    assert sound(hv)


def test_one_gfn_twice_in_a_message_is_refused(hv: ScriptedHypervisor) -> None:
    spare = hv.spare(4)
    before = hv.uv.digest()
    reply = page_out(hv, (spare, gpa(2), 1), (spare + PAGE_SIZE, gpa(1), 3))
    assert [code for _, _, code in reply.refused.coded()] == [UCode.U_P3] * 2
    assert hv.uv.digest() == before


@pytest.mark.parametrize(
    ("start", "count"),
    [
        (gpa(8), 1),
        (gpa(3), 2),
        (gpa(0) + 1, 1),
        (gpa(0), 9),
        (gpa(1), U64_MAX),
        (U64_MAX, 1),
        (gpa(1) - 8, 1),
    ],
)
def test_runs_that_do_not_lie_in_one_slot(hv: ScriptedHypervisor, start: int, count: int) -> None:
    before = hv.uv.digest()
    if count <= NORMAL_PAGES:
        spare = hv.spare(count)
        for reply in (page_in(hv, (spare, start, count)), page_out(hv, (spare, start, count))):
            assert reply.code is UCode.U_P3
    assert inval(hv, (start, count)).code is UCode.U_P2
    assert hv.uv.digest() == before


def test_each_run_of_a_message_is_answered_by_itself(hv: ScriptedHypervisor) -> None:
    put(hv, 1, S.PAGEDOUT, frame=text("page 1"))
    put(hv, 5, S.SHARED)
    spare = hv.spare(8)
    reply = page_out(
        hv,
        (spare, gpa(0), 4),
        (0, gpa(4), 1),
        (spare + 4 * PAGE_SIZE, gpa(5), 2),
        (spare + 7 * PAGE_SIZE, gpa(9), 1),
    )
    assert reply.code is UCode.U_PARAMETER
    assert list(reply.refused.coded()) == [
        (gpa(1), 1, UCode.U_PARAMETER),
        (gpa(4), 1, UCode.U_P2),
        (gpa(9), 1, UCode.U_P3),
    ]
    out = S.PAGEDOUT
    assert [state_of(hv, g) for g in range(8)] == [out, out, out, out, S.SECURE, S.SHARED, out, S.SECURE]
    assert hv.page(spare + PAGE_SIZE) == bytes(PAGE_SIZE)
    assert hv.page(spare + 4 * PAGE_SIZE) == bytes(PAGE_SIZE)
    assert sound(hv)


def test_pages_come_back_from_wherever_they_were_put(hv: ScriptedHypervisor) -> None:
    spare = hv.spare(8)
    there = [(spare + gpa(7 - gfn), gpa(gfn), 1) for gfn in range(8)]
    assert page_out(hv, *there).code is UCode.U_SUCCESS
    assert page_in(hv, *reversed(there)).code is UCode.U_SUCCESS
    assert [frame_of(hv, gfn) for gfn in range(8)] == [text(f"page {gfn}") for gfn in range(8)]
    assert hv.uv.resident == 8


@pytest.mark.parametrize("count", [0, 8])
def test_runs_of_no_page_and_no_run_at_all_do_nothing(hv: ScriptedHypervisor, count: int) -> None:
    before = hv.uv.digest()
    rows = [(hv.spare(), gpa(gfn), 0) for gfn in range(count)]
    assert page_in(hv, *rows).code is UCode.U_SUCCESS
    assert page_out(hv, *rows).code is UCode.U_SUCCESS
    assert inval(hv, *[(gpa(gfn), 0) for gfn in range(count)]).code is UCode.U_SUCCESS
    assert hv.uv.digest() == before


def test_an_invalidated_page_is_free_for_another(hv: ScriptedHypervisor) -> None:
    put(hv, 0, S.SHARED, page=text("mail"))
    put(hv, 1, S.SHARED_INV)
    assert inval(hv, (gpa(0), 2)).code is UCode.U_SUCCESS
    assert (mapped(hv, 0), hv.uv.normal_pages.used) == (0, 0)
    assert page_in(hv, (hv.ra(LPID, 0), gpa(1), 1)).code is UCode.U_SUCCESS
    assert sound(hv)
