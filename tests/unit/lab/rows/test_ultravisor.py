"""The Ultravisor's rows as a list: nothing of the protocol's own tables is without a row, or a reason."""

from collections import Counter
from itertools import combinations

import pytest

from pef_lab.rows.doors import CONNECTIONS
from pef_lab.rows.passes import SECURE_MEMORY
from pef_lab.rows.row import Kind, Level, Row
from pef_lab.rows.subject import Subject
from pef_lab.rows.ultravisor import SHEETS, rows, unmade
from pef_lab.rows.ultravisor.codes import IN_CELLS, UNREACHABLE
from pef_lab.rows.ultravisor.scene import Kept, subjects
from pef_lab.rows.ultravisor.table import CELLS, GUESTS, TRANSIENT, Operation
from pef_lab.rows.ultravisor.vm import PAGES
from pef_protocol.calls import CALLS, ULTRACALLS, Call
from pef_protocol.codes import Code
from pef_protocol.quantities import PAGE_SIZE
from pef_protocol.states import UvGfnState as S

ROWS = tuple(rows())
IDS = {row.id for row in ROWS}
NO_SUCH_MESSAGE = {
    ("UV_WRITE_PATE", "lpid", "svm"),
    ("UV_REGISTER_MEM_SLOT", "lpid", "aborted"),
    ("UV_REGISTER_MEM_SLOT", "lpid", "registered"),
    ("UV_REGISTER_MEM_SLOT", "lpid", "overlap"),
    ("UV_UNREGISTER_MEM_SLOT", "slotid", "moving"),
    ("UV_UNREGISTER_MEM_SLOT", "lpid", "registered"),
    ("UV_UNREGISTER_MEM_SLOT", "lpid", "moving"),
    ("UV_UNREGISTER_MEM_SLOT", "registered", "moving"),
    ("UV_PAGE_IN", "lpid", "aborted"),
    ("UV_PAGE_IN", "lpid", "state"),
    ("UV_PAGE_IN", "gpa", "state"),
    ("UV_PAGE_OUT", "lpid", "aborted"),
    ("UV_PAGE_OUT", "state", "aborted"),
    ("UV_PAGE_OUT", "gpa", "state"),
    ("UV_PAGE_INVAL", "lpid", "aborted"),
    ("UV_PAGE_INVAL", "lpid", "state"),
    ("UV_SVM_TERMINATE", "lpid", "svm"),
    ("UV_ESM", "lpid", "active"),
    ("UV_ESM", "lpid", "aborted"),
    ("UV_ESM", "active", "aborted"),
    ("UV_SHARE_PAGE", "secure", "aborted"),
    ("UV_UNSHARE_PAGE", "secure", "aborted"),
    ("UV_UNSHARE_PAGE", "secure", "state"),
    ("UV_UNSHARE_PAGE", "gfn", "state"),
    ("UV_UNSHARE_ALL_PAGES", "secure", "aborted"),
    ("UV_ESMB_GET_FILE", "secure", "aborted"),
}
"""Pairs of rungs that no message fails both of: one VM, slot or GFN can't be both."""


def path_of(call: Call) -> str:
    return "uv/" + call.name.removeprefix("UV_").lower().replace("_", "-")


def has_row(place: str) -> bool:
    return any(name == place or name.startswith(f"{place}:") for name in IDS)


def test_ids_are_unique() -> None:
    assert [name for name, times in Counter(row.id for row in ROWS).items() if times > 1] == []


def test_every_ultracall_has_a_sheet() -> None:
    assert sorted(sheet.call.name for sheet in SHEETS) == sorted(call.name for call in ULTRACALLS)


@pytest.mark.parametrize("call", ULTRACALLS, ids=lambda call: call.name)
def test_every_rung_has_a_row(call: Call) -> None:
    assert [rung.name for rung in call.check_order if not has_row(f"{path_of(call)}/{rung.name}")] == []
    assert has_row(f"{path_of(call)}/success")
    assert has_row(f"{path_of(call)}/nobody")


@pytest.mark.parametrize("call", ULTRACALLS, ids=lambda call: call.name)
def test_every_pair_of_rungs_has_a_row_or_a_reason(call: Call) -> None:
    pairs = {(first.name, second.name) for first, second in combinations(call.check_order, 2)}
    made = {(first, second) for first, second in pairs if f"{path_of(call)}/order/{first}<{second}" in IDS}
    reasons = {(each.first, each.second): each.reason for each in unmade() if each.call == call.name}
    assert made.isdisjoint(reasons)
    assert made | set(reasons) == pairs
    codes = {rung.name: rung.code for rung in call.check_order}
    impossible = {pair for pair in reasons if codes[pair[0]] is not codes[pair[1]]}
    assert impossible == {(first, second) for name, first, second in NO_SUCH_MESSAGE if name == call.name}


@pytest.mark.parametrize("call", ULTRACALLS, ids=lambda call: call.name)
def test_every_later_code_has_a_row_or_a_reason(call: Call) -> None:
    def is_shown(code: Code) -> bool:
        return has_row(f"{path_of(call)}/{code.name}") or (call.name, code) in IN_CELLS

    assert [
        code.name for code in call.later if not is_shown(code) and (call.name, code) not in UNREACHABLE
    ] == []
    assert [code.name for code in call.later if is_shown(code) and (call.name, code) in UNREACHABLE] == []


def test_cells_are_those_of_the_states() -> None:
    cells = {row.id: row for row in ROWS if row.kind is Kind.CELL}
    wanted = {
        f"gfn/{state.name}/{operation.name.lower().replace('_', '-')}": (operation, state)
        for operation in Operation
        for state in S
    }
    assert set(cells) == set(wanted)
    assert len(cells) == 84
    for name, (operation, state) in wanted.items():
        row = cells[name]
        assert row.of == ({Subject.ULTRAVISOR} if state in TRANSIENT else {Subject.ULTRAVISOR, Subject.PAIR})
        assert row.patient == (state in TRANSIENT and operation in GUESTS)
        assert row.level is (Level.EITHER if state is S.HV_UNSHARED else Level.MUST)


def test_cells_expect_what_a_call_may_answer() -> None:
    for operation, by_state in CELLS.items():
        assert {cell.code for cell in by_state.values()} <= CALLS[operation.value].codes


def test_a_refused_cell_stays_what_it_was() -> None:
    for by_state in CELLS.values():
        assert [state for state, cell in by_state.items() if cell.code != 0 and cell.then is not state] == []


@pytest.mark.parametrize("call", ["UV_PAGE_IN", "UV_PAGE_OUT", "UV_PAGE_INVAL"])
def test_runs_that_are_judged_alone_have_rows(call: str) -> None:
    judged = {rung.name for rung in CALLS[call].check_order if rung.per_run} - {"aborted"}
    assert [name for name in judged if f"{path_of(CALLS[call])}/runs/{name}" not in IDS] == []


@pytest.mark.parametrize("kept", Kept)
def test_who_needs_a_hypervisor_that_lies_is_played_alone(kept: Kept) -> None:
    needs = kept in {Kept.ACTIVE, Kept.IN_FLIGHT, Kept.ABORTED}
    assert (Subject.PAIR in subjects({"lpid": kept})) is not needs


def test_every_row_says_what_it_promises() -> None:
    def is_told(row: Row) -> bool:
        return bool(row.clause) and row.call in CALLS and row.of <= {Subject.PAIR, Subject.ULTRAVISOR}

    assert [row.id for row in ROWS if not is_told(row)] == []


def test_the_svms_of_all_rows_that_are_played_at_once_fit_in_secure_memory() -> None:
    """Else an Ultravisor moves a page of one out for another, in the midst of its row."""
    at_once = sum(row.patient for row in ROWS if Subject.ULTRAVISOR in row.of)
    assert 1 < at_once <= CONNECTIONS
    assert 2 * at_once * PAGES * PAGE_SIZE <= SECURE_MEMORY
