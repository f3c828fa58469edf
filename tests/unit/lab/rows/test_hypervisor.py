"""The rows of a Hypervisor: nothing that the protocol says of it is without one."""

from collections import Counter
from itertools import combinations

import pytest

from pef_lab.rows import hypervisor
from pef_lab.rows.hypervisor.event_table import EVENTS
from pef_lab.rows.hypervisor.life import GFN_LIFE, VM_LIFE
from pef_lab.rows.hypervisor.sheets import SHEETS
from pef_lab.rows.hypervisor.vms import Letter, Life
from pef_lab.rows.row import Kind, Level, Row
from pef_lab.rows.sheet import Sheet
from pef_lab.rows.subject import Subject
from pef_protocol.calls import HYPERCALLS
from pef_protocol.codes import HCode

ROWS = tuple(hypervisor.rows())


def of(kind: Kind) -> list[Row]:
    return [row for row in ROWS if row.kind is kind]


def test_no_two_rows_have_one_id() -> None:
    assert not [name for name, times in Counter(row.id for row in ROWS).items() if times > 1]


def test_every_hypercall_has_a_sheet_and_a_row_of_success() -> None:
    assert {sheet.call.name for sheet in SHEETS} == {call.name for call in HYPERCALLS}
    assert {row.call for row in of(Kind.SUCCESS)} >= {call.name for call in HYPERCALLS}


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.path)
def test_every_rung_has_a_row(sheet: Sheet) -> None:
    seen = {
        row.id.removeprefix(f"{sheet.path}/").split(":")[0] for row in sheet.rows() if row.kind is Kind.RUNG
    }
    assert seen == {rung.name for rung in sheet.call.check_order}


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.path)
def test_every_pair_of_rungs_has_a_row_or_a_reason(sheet: Sheet) -> None:
    made = {row.id.rsplit("/", 1)[1] for row in sheet.rows() if row.kind is Kind.PAIR}
    unmade = {f"{pair.first}<{pair.second}" for pair in sheet.unmade()}
    pairs = {f"{one.name}<{other.name}" for one, other in combinations(sheet.call.check_order, 2)}
    assert made | unmade == pairs
    assert not made & unmade
    assert all(pair.reason for pair in sheet.unmade())


def test_pairs_that_no_vm_can_have_are_the_only_ones_that_differ_in_code_and_have_no_row() -> None:
    impossible = {
        (pair.call, pair.first, pair.second)
        for pair in hypervisor.unmade()
        if not pair.reason.startswith("both answer")
    }
    assert impossible == {
        ("H_SVM_INIT_START", "lpid", "state"),
        ("H_SVM_INIT_START", "lpid", "radix"),
        ("H_SVM_INIT_START", "lpid", "authority"),
        ("H_SVM_INIT_START", "state", "secure_memory"),
        ("H_SVM_INIT_START", "state", "radix"),
        ("H_SVM_INIT_START", "state", "authority"),
        ("H_SVM_INIT_DONE", "started", "state"),
        ("H_SVM_INIT_ABORT", "started", "state"),
        ("H_SVM_PAGE_IN", "started", "state"),
    }


def test_both_life_cycles_have_a_row_a_cell() -> None:
    lives = [f"vm/{life}/{event}" for life, events in VM_LIFE.items() for event in events]
    steps = [f"life/{letter.value.lower()}/{step}" for letter, row in GFN_LIFE.items() for step in row]
    assert (len(lives), len(steps)) == (15, 12)
    assert set(lives) == {row.id for row in of(Kind.VM_LIFE)}
    assert set(steps) == {row.id for row in of(Kind.GFN_LIFE)}


def test_only_the_cell_for_which_there_is_no_word_is_not_judged() -> None:
    assert [row.id for row in ROWS if row.level is Level.EITHER] == ["vm/transient/start-vm"]


@pytest.mark.parametrize("name", [name for name in EVENTS if not name.endswith("refused")])
def test_an_event_has_a_cell_a_state_and_a_row_each(name: str) -> None:
    letters = {Letter.N, Letter.S, Letter.P, Letter.H}
    assert EVENTS[name].cells.keys() == letters
    assert {f"event/{letter.name}/{name}" for letter in letters} <= {row.id for row in ROWS}


def test_only_a_transient_vm_has_a_normal_gfn_to_whom_something_happens() -> None:
    secure = [row.id for row in of(Kind.CELL) if row.id.endswith(":secure")]
    assert secure
    assert not [name for name in secure if name.startswith("event/N/")]


def test_every_code_of_a_hypercall_is_expected_by_a_row_of_it() -> None:
    later = {(call.name, HCode(code).name) for call in HYPERCALLS for code in call.later}
    assert not [told for told in later if not any(_speaks_of(row, *told) for row in ROWS)]


def _speaks_of(row: Row, call: str, code: str) -> bool:
    path = next(sheet.path for sheet in SHEETS if sheet.call.name == call)
    short = path.removeprefix("hv/")
    marks = {
        "H_PARAMETER": (f"{path}/H_PARAMETER", f"hv/refused/{short}", f"{path}/success"),
        "H_STATE": (f"{path}/H_STATE",),
        "H_BUSY": (f"hv/busy/in-hand/{short}", f"hv/busy/held/{short}"),
    }
    return row.id.startswith(marks[code])


def test_what_takes_us_as_the_ultravisor_is_not_played_on_a_pair() -> None:
    on_pair = [row for row in ROWS if Subject.PAIR in row.of]
    assert {row.kind for row in on_pair} == {Kind.RUNG, Kind.PAIR, Kind.VM_LIFE, Kind.CODE}
    assert {row.call for row in on_pair if row.kind is Kind.CODE} == {"unknown hypercall"}
    assert not [row.id for row in on_pair if Life.TRANSIENT in row.id]


def test_a_host_without_secure_memory_is_asked_for_one_rung_and_its_order() -> None:
    assert {row.id for row in ROWS if Subject.BARE_HYPERVISOR in row.of} == {
        "hv/init-start/secure_memory",
        "hv/init-start/order/lpid<secure_memory",
        "hv/init-start/order/secure_memory<authority",
    }
