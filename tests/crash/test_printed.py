"""A case that is missing is said: a cell of the table of kills, and a yield at which nobody died."""

from collections import Counter

from crash.kills import ends_of
from crash.matrix import Case, Matrix
from crash.printed import ENDS, MESSAGES, Cell, reasons, skipped, when, wrong_cells
from crash.threads import Moment
from pef_protocol.events import Side

FULL: Counter[Cell] = Counter({(name, *end): 1 for name in MESSAGES for end in ENDS})
MISSING: Cell = ("H_SVM_PAGE_OUT", Side.ULTRAVISOR, True)
MOMENTS = [Moment(1, Side.HYPERVISOR, "Offload", done) for done in (False, True)]


def test_an_empty_cell_needs_a_reason() -> None:
    cells = FULL.copy()
    del cells[MISSING]
    assert list(wrong_cells(cells, {})) == ["no kill, and no reason: H_SVM_PAGE_OUT | ultravisor | after"]
    assert list(wrong_cells(cells, {when(MISSING): "it is never sent"})) == []


def test_a_reason_needs_an_empty_cell() -> None:
    assert list(wrong_cells(FULL, {when(MISSING): "it is never sent"})) == [
        "a reason, and no empty cell: H_SVM_PAGE_OUT | ultravisor | after"
    ]


def test_the_reasons_that_are_given_name_cells() -> None:
    assert reasons().keys() <= {when((name, *end)) for name in MESSAGES for end in ENDS}


def test_a_case_that_is_skipped_is_said() -> None:
    cases = [Case(0, place, side) for place in range(len(MOMENTS)) for side in Side]
    whole = Matrix([MOMENTS], frozenset(), dict.fromkeys(cases, ()))
    assert list(skipped(whole)) == []
    partly = Matrix([MOMENTS], frozenset(), dict.fromkeys(cases[1:], ()))
    assert list(skipped(partly)) == ["create a VM: 1 yields, 3 cases"]


def test_a_message_that_repeats_is_killed_at_its_ends() -> None:
    assert ends_of([("a", 0), ("b", 0), ("a", 1), ("a", 2)]) == [("a", 0), ("b", 0), ("a", 2)]
