"""Spans of OpenTelemetry, made from the end of what a side recorded: what an operator may read of a call.

Trust: who receives spans is not trusted, like the Hypervisor. The Ultravisor's spans say only what the
Hypervisor observes itself, as `span_of` decides.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeAlias

from pef_protocol.events import Event, EventKind, Side

SPAN_ID: Final = re.compile("(?!0{16})[0-9a-f]{16}")
DesignOf: TypeAlias = Callable[[int], str]
"""Gives the design of the VM that has an lpid; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Span:
    """One call, access or operation. `start`, `end`: nanoseconds since 1970. `parent` 0: there is none."""

    trace: int
    span: int
    parent: int
    name: str
    start: int
    end: int
    attributes: dict[str, str | int]


def span_id(call_id: str) -> int:
    """Return the id (64 bits, not 0) of a call's span: the call's id, or a digest of one of another form."""
    if SPAN_ID.fullmatch(call_id):
        return int(call_id, 16)
    return int.from_bytes(blake2b(call_id.encode(), digest_size=8).digest()) or 1


def span_of(event: Event, traceparent: str, end: int, design_of: DesignOf, *, nested: bool) -> Span | None:
    """Return the span of the end of a call, access or operation; None of what must not be exported.

    `traceparent`: the trace that it belongs to. `end`: when it ended (nanoseconds). `nested`: whether it
    made a call to the peer.

    Trust: of what a guest asks the Ultravisor for, only a call that made a hypercall has a span, and that one
    has neither code nor check nor count. The Hypervisor sees neither a guest's loads and stores nor answers.
    """
    private = event.side is Side.ULTRAVISOR and not event.caller.startswith("hypervisor")
    if private and not (event.kind is EventKind.CALL and nested):
        return None
    _, trace, root, _ = traceparent.split("-")
    attributes: dict[str, str | int] = {"pef.call": event.name}
    lpid = _lpid_of(event)
    if lpid is not None:
        attributes["pef.lpid"] = lpid
        if design := design_of(lpid):
            attributes["pef.design"] = design
    if not private:
        attributes |= {"pef.code": event.code, "pef.gfns": event.pages}
        if event.check:
            attributes["pef.check"] = event.check
    parent = span_id(event.parent_id) if event.parent_id else int(root, 16)
    start = end - int(event.seconds * 1e9)
    return Span(int(trace, 16), span_id(event.call_id), parent, event.name, start, end, attributes)


def _lpid_of(event: Event) -> int | None:
    named = event.arguments.get("lpid", event.caller.removeprefix("guest "))
    return int(named) if str(named).isdecimal() and int(named) < 1 << 63 else None
