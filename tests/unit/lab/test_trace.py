"""Recorded runs: their file, the tree of their calls, and both ways to show them."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pef_lab import trace
from pef_lab.failures import WrongInput
from pef_lab.sequence import Turn, lines_of, mermaid, steps_of, words_of
from pef_lab.tables import sequence_table
from pef_lab.trace import Recorded
from pef_protocol.events import CallEvent, Side, TraceHeader

UV, HV = Side.ULTRAVISOR, Side.HYPERVISOR


def call(
    side: Side, call_id: str, parent_id: str, name: str, code: str, began: int, **rest: object
) -> Recorded:
    caller = "guest 1" if name == "UV_ESM" else HV if side is UV else UV
    fields = {"caller": caller, "began": began, "ended": began + 1, **rest}
    return Recorded("tracked", "enters", CallEvent(side, call_id, parent_id, name=name, code=code, **fields))  # type: ignore[arg-type]


# In the order in which they are answered: inner calls first, one side after the other.
ESM = [
    call(UV, "b", "s", "UV_REGISTER_MEM_SLOT", "U_SUCCESS", 3, arguments={"lpid": 1, "slotid": 0}),
    call(UV, "i", "p", "UV_PAGE_IN", "U_SUCCESS", 5, pages=24, arguments={"runs": "0x0+0x400000+0x18"}),
    call(UV, "e", "", "UV_ESM", "U_SUCCESS", 1, seconds=0.012, arguments={"kernel_base": 0x400000}),
    call(HV, "s", "e", "H_SVM_INIT_START", "H_SUCCESS", 1),
    call(
        HV, "p", "e", "H_SVM_PAGE_IN", "H_SUCCESS", 3, pages=4, arguments={"runs": "0x1+0x1 0x2+0x2 0x4+0x1"}
    ),
    call(HV, "d", "e", "H_SVM_INIT_DONE", "H_STATE", 5),
]


def shown(calls: list[Recorded]) -> list[str]:
    (step,) = steps_of(calls)
    return ["  " * line.depth + " ".join(filter(None, words_of(line))) for line in lines_of(step.roots)]


def test_calls_are_nested_as_they_were_made() -> None:
    assert shown(ESM) == [
        "guest 1 ▸ UV_ESM kernel_base=0x400000",
        "  ▸ H_SVM_INIT_START",
        "    ▸ UV_REGISTER_MEM_SLOT slotid=0 U_SUCCESS",
        "  ◂ H_SVM_INIT_START H_SUCCESS 0 ms",
        "  ▸ H_SVM_PAGE_IN 0x1+1 0x2+2 … 1 run more (4 pages)",
        "    ▸ UV_PAGE_IN 0x400000 (24 pages) U_SUCCESS",
        "  ◂ H_SVM_PAGE_IN H_SUCCESS 0 ms",
        "  ▸ H_SVM_INIT_DONE H_STATE",
        "◂ UV_ESM U_SUCCESS 12 ms",
    ]


def test_many_alike_in_a_row_are_counted() -> None:
    calls = [call(HV, f"p{number}", "e", "H_SVM_PAGE_IN", "H_SUCCESS", number) for number in range(40)]
    assert shown([ESM[2], *calls])[1:-1] == ["  ▸ H_SVM_PAGE_IN H_SUCCESS"] * 3 + [
        "  … 37 more H_SVM_PAGE_IN H_SUCCESS"
    ]


def test_a_call_whose_parent_is_not_in_the_trace_stands_alone() -> None:
    assert shown([ESM[1]]) == ["hypervisor ▸ UV_PAGE_IN 0x400000 (24 pages) U_SUCCESS"]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12, unique_by=lambda pair: pair[0])
)
def test_no_trace_however_odd_brings_the_tree_down(pairs: list[tuple[int, int]]) -> None:
    calls = [call(UV, str(own), str(parent), "UV_PAGE_IN", "U_P2", own) for own, parent in pairs]
    for step in steps_of(calls):
        assert sum(line.turn is not Turn.ANSWERED for line in lines_of(step.roots)) <= len(calls)


def test_the_diagram_has_an_arrow_there_and_back_for_each_call() -> None:
    lines = [line.strip() for line in mermaid(steps_of(ESM))]
    assert lines[0] == "sequenceDiagram"
    assert lines[4:] == [
        "Note over W,H: tracked: enters",
        "W->>+U: UV_ESM kernel_base=0x400000",
        "U->>+H: H_SVM_INIT_START",
        "H->>+U: UV_REGISTER_MEM_SLOT slotid=0",
        "U-->>-H: U_SUCCESS",
        "H-->>-U: H_SUCCESS",
        "U->>+H: H_SVM_PAGE_IN 0x1+1 0x2+2 … 1 run more (4 pages)",
        "H->>+U: UV_PAGE_IN 0x400000 (24 pages)",
        "U-->>-H: U_SUCCESS",
        "H-->>-U: H_SUCCESS",
        "U->>+H: H_SVM_INIT_DONE",
        "H-->>-U: H_STATE",
        "U-->>-W: U_SUCCESS",
    ]


def test_signs_that_end_a_message_are_written_as_entities() -> None:
    odd = Recorded("", "a; b # c", ESM[2].event)
    assert "    Note over W,H: a#59; b #35; c" in list(mermaid(steps_of([odd])))


def test_each_call_stands_in_the_column_of_the_side_that_answers() -> None:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(sequence_table(steps_of(ESM), 120))
    lines = captured.get().splitlines()
    start = next(line for line in lines if "▸ H_SVM_INIT_START" in line)
    register = next(line for line in lines if "UV_REGISTER" in line)
    assert start[:50].strip() == ""
    assert register.startswith("    ▸ UV_REGISTER_MEM_SLOT")


def test_a_file_keeps_all_that_was_recorded(tmp_path: Path) -> None:
    trace.write(tmp_path / "run.jsonl", "a run", ESM)
    assert trace.read(tmp_path / "run.jsonl") == (TraceHeader(title="a run"), ESM)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "line 1: not a trace"),
        ("not json", "line 1: not a JSON object"),
        ('{"pef_trace": 99}', "line 1: not a trace of version 1"),
        ('{"pef_trace": 1}\n[]', "line 2: not a JSON object"),
        ('{"pef_trace": 1}\n{"name": "UV_ESM"}', "line 2: not a call"),
        (
            '{"pef_trace": 1}\n' + json.dumps({**asdict(ESM[0].event), "side": "nobody"}),
            "line 2: not a call",
        ),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(WrongInput, match=fault):
        trace.read(path)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="No such file"):
        trace.read(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WrongInput, match="not a text file"):
        trace.read(tmp_path / "bytes")
