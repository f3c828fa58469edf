"""Recorded runs: their file, the tree of their calls, and both ways to show them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pef_lab import trace
from pef_lab.failures import WrongInput
from pef_lab.sequence import Turn, lines_of, mermaid, steps_of, words_of
from pef_lab.tables import sequence_table
from pef_lab.trace import Recorded
from pef_protocol.events import Event, EventKind, EventPhase, Side, TraceHeader

UV, HV = Side.ULTRAVISOR, Side.HYPERVISOR


Ends = tuple[Recorded, Recorded]


def call(
    side: Side,
    call_id: str,
    parent_id: str,
    name: str,
    code: str,
    began: int,
    *,
    kind: EventKind = EventKind.CALL,
    caller: str = "",
    arguments: Mapping[str, int | str] = MappingProxyType({}),
    **outcome: object,
) -> Ends:
    """Return begin and end of a call; its end comes right after it, which decides nothing."""
    caller = caller or ("guest 1" if name == "UV_ESM" else HV if side is UV else UV)
    begin = Event(began, side, kind, EventPhase.BEGIN, call_id, parent_id, caller, name, 0, dict(arguments))
    end = replace(begin, number=began + 1, phase=EventPhase.END, code=code, **outcome)  # type: ignore[arg-type]
    return Recorded("tracked", "enters", begin), Recorded("tracked", "enters", end)


def together(calls: Sequence[Ends]) -> list[Recorded]:
    """Return the events of calls as one recording."""
    return [event for ends in calls for event in ends]


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


def shown(calls: Sequence[Ends]) -> list[str]:
    (step,) = steps_of(together(calls))
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


def test_accesses_and_operations_are_the_roots_of_the_calls_that_they_need() -> None:
    """Given a guest's load and a VMM's read that each need a call, the calls hang under them."""
    load = {"kind": EventKind.ACCESS, "caller": "guest 1", "arguments": {"gpa": 0x10000, "length": 8}}
    read = {"kind": EventKind.OPERATION, "caller": "vmm", "arguments": {"lpid": 1, "gpa": 0, "length": 8}}
    calls = [
        call(UV, "l", "", "load", "resolved", 1, seconds=0.004, **load),  # type: ignore[arg-type]
        call(UV, "o", "r", "UV_PAGE_OUT", "U_PARAMETER", 5, check="state"),
        call(HV, "p", "l", "H_SVM_PAGE_IN", "H_SUCCESS", 1),
        call(HV, "r", "", "host_read", "OK", 3, seconds=0.001, **read),  # type: ignore[arg-type]
    ]
    assert shown(calls) == [
        "vmm ▸ host_read gpa=0x0 length=8",
        "  ▸ UV_PAGE_OUT U_PARAMETER (state)",
        "◂ host_read OK 1 ms",
        "guest 1 ▸ load gpa=0x10000 length=8",
        "  ▸ H_SVM_PAGE_IN H_SUCCESS",
        "◂ load resolved 4 ms",
    ]


def test_what_is_not_answered_yet_has_no_code() -> None:
    assert shown([ESM[2]]) == ["guest 1 ▸ UV_ESM kernel_base=0x400000 U_SUCCESS"]
    (step,) = steps_of([ESM[2][0]])
    assert [words_of(line) for line in lines_of(step.roots)] == [
        ("guest 1 ▸ UV_ESM", "kernel_base=0x400000", "")
    ]
    assert list(mermaid([step]))[-1].strip() == "U-->>-W: no answer"


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12, unique_by=lambda pair: pair[0])
)
def test_no_trace_however_odd_brings_the_tree_down(pairs: list[tuple[int, int]]) -> None:
    calls = [call(UV, str(own), str(parent), "UV_PAGE_IN", "U_P2", own) for own, parent in pairs]
    for step in steps_of(together(calls)):
        assert sum(line.turn is not Turn.ANSWERED for line in lines_of(step.roots)) <= len(calls)


def test_the_diagram_has_an_arrow_there_and_back_for_each_call() -> None:
    lines = [line.strip() for line in mermaid(steps_of(together(ESM)))]
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
    odd = Recorded("", "a; b # c", ESM[2][1].event)
    assert "    Note over W,H: a#59; b #35; c" in list(mermaid(steps_of([odd])))


def test_each_call_stands_in_the_column_of_the_side_that_answers() -> None:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(sequence_table(steps_of(together(ESM)), 120))
    lines = captured.get().splitlines()
    start = next(line for line in lines if "▸ H_SVM_INIT_START" in line)
    register = next(line for line in lines if "UV_REGISTER" in line)
    assert start[:50].strip() == ""
    assert register.startswith("    ▸ UV_REGISTER_MEM_SLOT")


def test_a_file_keeps_all_that_was_recorded(tmp_path: Path) -> None:
    trace.write(tmp_path / "run.jsonl", "a run", together(ESM))
    assert trace.read(tmp_path / "run.jsonl") == (TraceHeader(title="a run"), together(ESM))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "line 1: not a trace"),
        ("not json", "line 1: not a JSON object"),
        ('{"pef_trace": 1}', "a trace of version 1, which can't be read: this reads version 2"),
        ('{"pef_trace": 1}\n{"name": "UV_ESM", "began": 1}', "a trace of version 1, which can't be read"),
        ('{"pef_trace": 99}', "a trace of version 99"),
        ('{"pef_trace": 2}\n[]', "line 2: not a JSON object"),
        ('{"pef_trace": 2}\n{"name": "UV_ESM"}', "line 2: not an event"),
        (
            '{"pef_trace": 2}\n' + json.dumps({**asdict(ESM[0][1].event), "side": "nobody"}),
            "line 2: not an event",
        ),
        (
            '{"pef_trace": 2}\n' + json.dumps({**asdict(ESM[0][1].event), "kind": "thought"}),
            "line 2: not an event",
        ),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(WrongInput, match=fault) as caught:
        trace.read(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="No such file"):
        trace.read(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WrongInput, match="not a text file"):
        trace.read(tmp_path / "bytes")
