"""Refusals: whole runs and parts of runs, in the message's order, and the code of the first."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pef_kit.core.columns import GfnSet, Slot
from pef_kit.core.replies import Refusals, RefusedBy
from pef_kit.core.runs import U64
from pef_protocol.calls import Reply
from pef_protocol.check_orders import Check
from pef_protocol.codes import HCode, UCode
from pef_protocol.quantities import PAGE_SIZE, U64_MAX, Gfn, SlotId
from pef_protocol.runs import CodedRuns

FIRST = 1 << 20
ULTRACALL = (
    Check("caller", UCode.U_PERMISSION, "anybody"),
    Check("ra", UCode.U_P2, "some runs", per_run=True),
    Check("gpa", UCode.U_P3, "other runs", per_run=True),
    Check("state", UCode.U_P2, "some GFNs", per_run=True),
)
HYPERCALL = (Check("caller", HCode.H_UNSUPPORTED, "anybody"),)
CODES = (0, int(UCode.U_P2), int(UCode.U_BUSY), int(UCode.U_NO_KEY))


def u64(*numbers: int) -> U64:
    return np.array(numbers, np.uint64)


def codes(*numbers: int) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    return np.array(numbers, np.int16)


def gfns(*rows: tuple[int, int, int]) -> GfnSet[Slot]:
    """Make a set of runs: (row of the message, offset in the slot, pages)."""
    places, offsets, counts = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return GfnSet(Slot(SlotId(0), Gfn(FIRST), 64), places, offsets, counts)


def gpa(page: int) -> int:
    return (FIRST + page) * PAGE_SIZE


def test_nothing_refused_is_success() -> None:
    for family, order in ((UCode, ULTRACALL), (HCode, HYPERCALL)):
        refusals = Refusals(u64(gpa(0)), u64(3), order)
        refusals.add_runs(codes(0))
        refusals.add_pages(gfns((0, 0, 3)), codes(0, 0, 0))
        assert refusals.reply() == Reply(family(0))


def test_a_message_without_runs_keeps_the_code_of_the_check_that_refused_it() -> None:
    refusals = Refusals(u64(), u64(), ULTRACALL)
    refusals.add_runs(codes())
    refusals.detail = "which one"
    order = Check("order", UCode.U_P5, "an order other than 16")
    assert refusals.reply(order) == Reply(UCode.U_P5, detail="which one", check="order")


def test_the_refusal_of_a_message_as_a_whole_names_no_runs() -> None:
    refusals = Refusals(u64(gpa(0), gpa(4)), u64(4, 2), ULTRACALL)
    refusals.add_runs(codes(UCode.U_PARAMETER, UCode.U_PARAMETER))
    lpid = Check("lpid", UCode.U_PARAMETER, "an lpid that names no SVM")
    assert refusals.reply(lpid) == Reply(UCode.U_PARAMETER, check="lpid")


def test_whole_runs_keep_their_numbers_whatever_they_are() -> None:
    refusals = Refusals(u64(U64_MAX, gpa(1), 12345), u64(U64_MAX, 1, 1 << 63), ULTRACALL)
    refusals.add_runs(codes(UCode.U_P3, 0, UCode.U_NO_KEY))
    assert refusals.reply() == Reply(
        UCode.U_P3,
        refused=CodedRuns.of((U64_MAX, U64_MAX, UCode.U_P3), (12345, 1 << 63, UCode.U_NO_KEY)),
        check="gpa",
    )


def test_pages_of_one_code_stay_together_only_within_their_run() -> None:
    refusals = Refusals(u64(gpa(0), gpa(4)), u64(4, 2), ULTRACALL)
    p2, busy = UCode.U_P2, UCode.U_BUSY
    refusals.add_pages(gfns((0, 0, 4), (1, 4, 2)), codes(0, p2, p2, busy, busy, 0))
    assert list(refusals.reply().refused.coded()) == [(gpa(1), 2, p2), (gpa(3), 1, busy), (gpa(4), 1, busy)]


def test_refusals_come_in_the_messages_order_whenever_they_were_found() -> None:
    refusals = Refusals(u64(gpa(9), 1, gpa(2)), u64(1, 1, 2), HYPERCALL)
    refusals.add_pages(gfns((2, 2, 2)), codes(0, HCode.H_BUSY))
    refusals.add_runs(codes(0, HCode.H_P2, 0))
    refusals.add_pages(gfns((0, 9, 1)), codes(HCode.H_STATE))
    reply = refusals.reply()
    assert reply.code is HCode.H_STATE
    assert list(reply.refused.coded()) == [
        (gpa(9), 1, HCode.H_STATE),
        (1, 1, HCode.H_P2),
        (gpa(3), 1, HCode.H_BUSY),
    ]


@pytest.mark.parametrize(
    ("code", "by", "check"),
    [
        (UCode.U_P2, RefusedBy.CHECK, "ra"),
        (UCode.U_P3, RefusedBy.CHECK, "gpa"),
        (UCode.U_P2, RefusedBy.TABLE, "state"),
        (UCode.U_BUSY, RefusedBy.TABLE, ""),
        (UCode.U_P3, RefusedBy.LATER, ""),
    ],
)
def test_the_check_of_the_first_refused_run_is_named(code: UCode, by: RefusedBy, check: str) -> None:
    refusals = Refusals(u64(gpa(0), gpa(4)), u64(1, 1), ULTRACALL)
    refusals.add_pages(gfns((1, 4, 1)), codes(UCode.U_RETRY))
    if by is RefusedBy.CHECK:
        refusals.add_runs(codes(code, 0))
    else:
        refusals.add_pages(gfns((0, 0, 1)), codes(code), by_table=by is RefusedBy.TABLE)
    assert (refusals.reply().code, refusals.reply().check) == (code, check)


def test_a_sub_run_that_two_refused_has_the_check_of_its_first_page() -> None:
    p2 = int(UCode.U_P2)
    for by_table, check in ((True, False), "state"), ((False, True), ""):
        refusals = Refusals(u64(gpa(0)), u64(2), ULTRACALL)
        refusals.add_pages(gfns((0, 0, 2)), codes(p2, p2), by_table=np.array(by_table))
        assert refusals.reply() == Reply(
            UCode.U_P2, refused=CodedRuns.from_rows([(gpa(0), 2, p2)]), check=check
        )


@given(st.lists(st.lists(st.sampled_from(CODES), min_size=1, max_size=6), min_size=1, max_size=6))
def test_refused_pages_are_exactly_those_with_a_code(pages: list[list[int]]) -> None:
    """Each run of the message stands one page apart from the one before."""
    offsets = [sum(len(run) + 1 for run in pages[:row]) for row in range(len(pages))]
    refusals = Refusals(u64(*map(gpa, offsets)), u64(*map(len, pages)), ULTRACALL)
    rows = [(row, offset, len(run)) for row, (offset, run) in enumerate(zip(offsets, pages, strict=True))]
    refusals.add_pages(gfns(*rows), codes(*(code for run in pages for code in run)))
    reply = refusals.reply()
    reported = {
        first // PAGE_SIZE + page: code
        for first, count, code in reply.refused.coded()
        for page in range(count)
    }
    wanted = {
        FIRST + offset + page: code
        for offset, run in zip(offsets, pages, strict=True)
        for page, code in enumerate(run)
        if code
    }
    assert reported == wanted
    assert list(reported) == sorted(reported)
    assert reply.code == next(iter(wanted.values()), 0)
