"""A trace as a recording: calls nested as they were, each with its begin and its end."""

import dataclasses
import json
from collections.abc import Sequence

import pytest

from pef_console.recorded.trace import recording_of
from pef_lab.failures import WrongInput
from pef_lab.trace import Recorded
from pef_protocol.events import TRACE_VERSION, Event, EventKind, EventPhase, Side, TraceHeader

UV, HV = Side.ULTRAVISOR, Side.HYPERVISOR


def ends(side: Side, number: int, name: str, parent: str, code: str, check: str = "") -> list[Recorded]:
    """Return begin and end of a call, which has its name as id."""
    caller = "guest 1" if not parent else (HV if side is UV else UV).value
    begin = Event(number, side, EventKind.CALL, EventPhase.BEGIN, name, parent, caller, name, 0, {"gfn": 7})
    end = dataclasses.replace(begin, number=number + 1, phase=EventPhase.END, code=code, check=check, pages=3)
    return [Recorded("broken", "enters", begin), Recorded("broken", "enters", end)]


def text_of(events: Sequence[Recorded], title: str = "pef designs") -> str:
    """Return the text of a trace file."""
    header = dataclasses.asdict(TraceHeader(title=title))
    lines = [{"run": each.run, "step": each.step, **dataclasses.asdict(each.event)} for each in events]
    return "".join(json.dumps(line) + "\n" for line in (header, *lines))


# Each side's own events, one side after the other, as a file has them.
EVENTS = [
    *ends(UV, 1, "UV_ESM", "", "U_SUCCESS"),
    *ends(UV, 2, "UV_PAGE_IN", "H_SVM_PAGE_IN", "U_P2", "lpid"),
    *ends(HV, 1, "H_SVM_PAGE_IN", "UV_ESM", "H_PARAMETER"),
]


def test_calls_are_nested_as_they_were() -> None:
    recording = recording_of(text_of(EVENTS), "t.jsonl")
    assert recording.title == "pef designs"
    assert [each.outcome for each in recording.entries] == [
        "asks UV_ESM",
        "asks H_SVM_PAGE_IN",
        "asks UV_PAGE_IN",
        "answers U_P2",
        "answers H_PARAMETER",
        "answers U_SUCCESS",
    ]
    arrows = [
        (each["from"], each["to"], each["depth"], each["code"]) for each in recording.frame(6)["arrows"]
    ]
    assert arrows == [
        ("guest 1", "ultravisor", 0, None),
        ("ultravisor", "hypervisor", 1, None),
        ("hypervisor", "ultravisor", 2, None),
        ("ultravisor", "hypervisor", 2, "U_P2"),
        ("hypervisor", "ultravisor", 1, "H_PARAMETER"),
        ("ultravisor", "guest 1", 0, "U_SUCCESS"),
    ]


def test_a_frame_shows_what_is_open_and_what_was_sent() -> None:
    recording = recording_of(text_of(EVENTS), "t.jsonl")
    frame = recording.frame(3)
    (call,) = frame["calls"]
    assert (call["actor"], call["action"], call["waits_for"]) == (
        "guest 1",
        "UV_ESM",
        "ultravisor answers UV_PAGE_IN",
    )
    assert [each["call"] for each in call["stack"]] == ["UV_ESM", "H_SVM_PAGE_IN", "UV_PAGE_IN"]
    assert (frame["cost"], frame["design"], frame["quiescent"]) == (
        {"ultracalls": 2, "hypercalls": 1, "gfns": 9, "bytes": 0},
        "broken",
        False,
    )
    assert (recording.frame(6)["calls"], recording.frame(6)["quiescent"]) == ([], True)


def test_a_code_is_explained_by_the_check_that_gave_it() -> None:
    recording = recording_of(text_of(EVENTS), "t.jsonl")
    why = recording.frame(4)["arrows"][-1]["why"]
    assert (why["check"], why["sentence"]) == ("lpid", "It refuses an lpid that names no SVM.")
    assert why["source"]
    assert recording.frame(6)["arrows"][-1]["why"] is None


def test_it_is_exported_as_the_diagram_that_pef_trace_prints() -> None:
    recording = recording_of(text_of(EVENTS), "t.jsonl")
    assert recording.mermaid.startswith("sequenceDiagram\n")
    assert "UV_PAGE_IN" in recording.mermaid


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}\n", "t.jsonl, line 1: not a trace"),
        (json.dumps({"pef_trace": TRACE_VERSION + 1}), "t.jsonl: a trace of version 3, which can't be read"),
        (json.dumps({"pef_trace": TRACE_VERSION}) + "\n[]", "t.jsonl, line 2: not a JSON object"),
        (json.dumps({"pef_trace": TRACE_VERSION}) + "\n{}", "t.jsonl, line 2: not an event"),
    ],
)
def test_what_is_no_trace_is_one_line(text: str, reason: str) -> None:
    with pytest.raises(WrongInput, match=reason):
        recording_of(text, "t.jsonl")
