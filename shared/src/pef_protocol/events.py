"""The vocabulary of traces: what happened at the door of a side, and what a run recorded.

A trace is a file of JSON lines: `TraceHeader` first, then one `CallEvent` a line, in the order in which
calls were *answered* on each side; `call_id` and `parent_id` give the tree. Events hold numbers of the
protocol and counts, never the contents of a page.
"""

from dataclasses import dataclass, field
from enum import StrEnum

TRACE_VERSION = 1


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """The first line of a trace file: what wrote it, in which version of this vocabulary."""

    pef_trace: int = TRACE_VERSION
    title: str = ""


class Side(StrEnum):
    """Who answered a call."""

    ULTRAVISOR = "ultravisor"
    HYPERVISOR = "hypervisor"


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One call, seen by the side that answered it. `began` and `ended` count that side's own events."""

    side: Side
    call_id: str
    parent_id: str
    caller: str
    name: str
    arguments: dict[str, int | str] = field(default_factory=dict)
    code: str = ""
    pages: int = 0
    depth: int = 0
    began: int = 0
    ended: int = 0
    seconds: float = 0.0
    detail: str = ""
