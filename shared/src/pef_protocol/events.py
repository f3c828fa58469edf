"""The vocabulary of traces: what happened at a side, and what a run recorded.

A trace is a file of JSON lines: `TraceHeader` first, then one `Event` per line, in the order in which they
happened on each side. `call_id` and `parent_id` give the tree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

TRACE_VERSION = 2


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """The first line of a trace file: what wrote it, in which version of this vocabulary."""

    pef_trace: int = TRACE_VERSION
    title: str = ""


class Side(StrEnum):
    """Who answers a call."""

    ULTRAVISOR = "ultravisor"
    HYPERVISOR = "hypervisor"


class EventKind(StrEnum):
    """What an event is about."""

    CALL = "call"
    """An ultracall or a hypercall."""
    ACCESS = "access"
    """A load or a store of a guest."""
    OPERATION = "operation"
    """What a VMM asks for."""


class EventPhase(StrEnum):
    """Which end of it."""

    BEGIN = "begin"
    END = "end"


@dataclass(frozen=True, slots=True)
class Event:
    """One end of a call, access or operation, seen by the side that answers it.

    `number` counts the events of that side. What is nested names its parent by `parent_id`, whatever its
    kind. The fields from `code` on are of the end. `code`: the name of the return code of a call, of the
    error number of an operation, "resolved" or "refused" of an access; "failed" where there is no answer.
    `check`: the check that refused a call. `pages`: the GFNs that a call names.

    Trust: an event has names, numbers of the protocol and counts. It has no bytes of a page, and no token.
    """

    number: int
    side: Side
    kind: EventKind
    phase: EventPhase
    call_id: str
    parent_id: str
    caller: str
    name: str
    depth: int
    arguments: Mapping[str, int | str]
    code: str = ""
    check: str = ""
    detail: str = ""
    pages: int = 0
    seconds: float = 0.0
