"""What a service records of its calls: a ring of events, counters, and the context of what they nest.

Trust: an event holds names, numbers of the protocol and counts. Contents of pages never come here.
"""

import asyncio
import itertools
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.datastructures import Headers

from pef_kit.core.runs import pages_in
from pef_kit.runtime.gauges import Gauges, Measured
from pef_kit.runtime.log import Log, LogForm
from pef_kit.runtime.otlp import SpanExport
from pef_kit.runtime.spans import DesignOf
from pef_protocol.events import Event, EventKind, EventPhase, Side
from pef_protocol.http import CALL_ID, DEPTH, MAX_DEPTH, PARENT_ID, TRACEPARENT, Caller, Role
from pef_protocol.runs import Runs

RING: Final = 1 << 17
"""Events that are kept, two for each call; older ones are forgotten."""
AT_ONCE: Final = 4096
"""Events that one answer shows: to make it takes the event loop some milliseconds."""
EVENT_FIELDS: Final = tuple(part.name for part in fields(Event))
ROWS_SHOWN: Final = 8
"""Runs of a call that its event names; the rest is counted."""
CALL_ID_FORM: Final = re.compile("[!-~]{1,64}")
TRACEPARENT_FORM: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Nesting:
    """What a call has nested so far; `happened`: it has made a call to the peer."""

    happened: bool = False


@dataclass(frozen=True, slots=True)
class CallContext:
    """The call that the current task answers: its id, its depth, and the trace it belongs to.

    `deadline`: when (by the event loop's clock) its caller stops waiting; None where nobody said.
    """

    call_id: str = ""
    depth: int = 0
    traceparent: str = ""
    deadline: float | None = None
    nesting: Nesting = field(default_factory=Nesting, compare=False)


CURRENT: ContextVar[CallContext | None] = ContextVar("CURRENT", default=None)


@dataclass(frozen=True, slots=True)
class _Counted:
    """The counters of calls of one name that were answered with one code."""

    calls: Counter
    pages: Counter
    seconds: Histogram


class Observer:
    """Keeps the events of one side, counts what they are about, and writes a log of the given form."""

    def __init__(self, side: Side, form: LogForm = LogForm.OFF) -> None:
        self.side = side
        self.export: SpanExport | None = None
        """Exports spans, where a setting asks for it."""
        self.last = 0
        """The number of the last event."""
        self.open_calls = 0
        """Calls that are under way."""
        self._events: deque[Event] = deque(maxlen=RING)
        self._recorded = asyncio.Event()
        """Set whenever an event is recorded."""
        self.registry = CollectorRegistry()
        self.calls = Counter("pef_calls", "Calls answered", ["call", "code"], registry=self.registry)
        self.pages = Counter("pef_pages", "GFNs carried by calls", ["call"], registry=self.registry)
        self.moved = Counter(
            "pef_bytes_moved", "Bytes moved over the memory bus", ["way"], registry=self.registry
        )
        self.seconds = Histogram(
            "pef_call_seconds", "Time until a call was answered", ["call"], registry=self.registry
        )
        self._counted: dict[tuple[str, str], _Counted] = {}
        self.log = Log(side, form, self.registry)

    def export_to(self, endpoint: str, design_of: DesignOf) -> None:
        """Export spans to `endpoint` from now on; empty: do not."""
        if endpoint:
            self.export = SpanExport(endpoint, self.side, self.registry, design_of)

    def measure(self, measure: Callable[[], Measured]) -> None:
        """Have `/metrics` show what the side holds in the moment in which it is read."""
        self.registry.register(Gauges(self.side, lambda: self.open_calls, measure))

    async def close(self) -> None:
        """Send the spans and write the lines that wait, for a bounded time."""
        if self.export:
            await self.export.close()
        await self.log.close()

    def record(self, event: Event) -> None:
        """Keep an event, whose number is one more than that of the last; count a call that was answered."""
        self.last = event.number
        self._events.append(event)
        self._recorded.set()
        if event.kind is EventKind.CALL and event.phase is EventPhase.BEGIN:
            self.open_calls += 1
        elif event.kind is EventKind.CALL:
            self.open_calls -= 1
            counted = self._counted.get((event.name, event.code)) or self._counters_of(event)
            counted.calls.inc()
            counted.pages.inc(event.pages)
            counted.seconds.observe(event.seconds)
        if self.log.of_calls:
            self.log.of_event(event)

    def _counters_of(self, event: Event) -> _Counted:
        """Look the counters of a call up once: by their labels that takes as long as all the rest."""
        counted = self._counted[event.name, event.code] = _Counted(
            self.calls.labels(event.name, event.code),
            self.pages.labels(event.name),
            self.seconds.labels(event.name),
        )
        return counted

    def since(self, after: int, limit: int = AT_ONCE) -> list[dict[str, Any]]:
        """Return the events with a number above `after`, oldest first, at most `limit`."""
        if after >= self.last:
            return []
        start = max(0, after + 1 - self._events[0].number)
        return [
            {name: getattr(event, name) for name in EVENT_FIELDS}
            for event in itertools.islice(self._events, start, start + limit)
        ]

    async def wait(self, after: int, seconds: float) -> None:
        """Wait until there is an event with a number above `after`, for at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.last <= after:
                    self._recorded.clear()
                    await self._recorded.wait()

    def exposition(self) -> bytes:
        """Return the counters in Prometheus' text format."""
        return generate_latest(self.registry)


def event_fields(request: Any) -> tuple[dict[str, int | str], int]:
    """Return what an event says of a request's arguments, and the pages that it names."""
    arguments: dict[str, int | str] = {}
    pages = 0
    for argument in fields(request):
        value = getattr(request, argument.name)
        if isinstance(value, Runs):
            rows = list(value)[:ROWS_SHOWN] if len(value) <= ROWS_SHOWN else []
            shown = " ".join("+".join(f"{word:#x}" for word in row) for row in rows)
            arguments[argument.name] = shown or f"{len(value)} runs"
            pages = pages_in(value)
        else:
            arguments[argument.name] = value
    return arguments, pages


class Recorded:
    """Records both ends of a call, access or operation, and is its context: what it nests names it as parent.

    `arguments` are numbers and names, never bytes of a page. `pages` are those that a call names. `seconds`:
    how long its caller still waits; None where it does not say so.
    """

    def __init__(
        self,
        observer: Observer,
        headers: Headers,
        caller: Caller,
        kind: EventKind,
        name: str,
        arguments: Mapping[str, int | str],
        *,
        pages: int = 0,
        seconds: float | None = None,
    ) -> None:
        self._observer = observer
        self._seconds = seconds
        # Trust: nothing nests what a guest or VMM asks for, whatever its header says.
        depth = "0" if caller.role in {Role.GUEST, Role.VMM, Role.OBSERVER} else headers.get(DEPTH, "0")
        self._depth = int(depth) if depth.isdecimal() and len(depth) < 3 else MAX_DEPTH  # noqa: PLR2004
        # Trust: ids travel on with nested calls; one that HTTP can't carry would make those calls fail.
        self._call_id = _well_formed(headers, CALL_ID, CALL_ID_FORM) or secrets.token_hex(8)
        self._parent_id = _well_formed(headers, PARENT_ID, CALL_ID_FORM)
        self._traceparent = _well_formed(headers, TRACEPARENT, TRACEPARENT_FORM)
        if observer.export and self._traceparent[3:35].strip("0") == "":
            self._traceparent = f"00-{secrets.token_hex(16)}-{'0' * 16}-01"
        self._nesting = Nesting()
        guest = f" {caller.lpid}" if caller.role is Role.GUEST else ""
        self._caller = f"{caller.role}{guest}"
        self._kind = kind
        self._name = name
        self._arguments = arguments
        self._pages = pages
        self.code = "failed"
        self.check = ""
        self.detail = ""

    def __enter__(self) -> "Recorded":
        self._observer.record(self._event(EventPhase.BEGIN))
        self._start = time.perf_counter()
        deadline = None
        if self._seconds is not None:
            deadline = asyncio.get_running_loop().time() + self._seconds
        self._token = CURRENT.set(
            CallContext(self._call_id, self._depth, self._traceparent, deadline, self._nesting)
        )
        return self

    def ends(self, code: str, detail: str = "", check: str = "") -> None:
        """Take note of how it ends."""
        self.code, self.detail, self.check = code, detail, check

    def __exit__(self, *_: object) -> None:
        CURRENT.reset(self._token)
        seconds = time.perf_counter() - self._start
        event = self._event(EventPhase.END, self.code, self.check, self.detail, self._pages, seconds)
        self._observer.record(event)
        if self._observer.export:
            self._observer.export.enqueue(event, self._traceparent, nested=self._nesting.happened)

    def _event(self, phase: EventPhase, *outcome: Any) -> Event:
        return Event(
            self._observer.last + 1,
            self._observer.side,
            self._kind,
            phase,
            self._call_id,
            self._parent_id,
            self._caller,
            self._name,
            self._depth,
            self._arguments,
            *outcome,
        )


def recorded_access(
    observer: Observer, headers: Headers, caller: Caller, name: str, gpa: int, length: int
) -> Recorded:
    """Return what records a guest's load or store: where it goes and how long it is (bytes), no more."""
    return Recorded(observer, headers, caller, EventKind.ACCESS, name, {"gpa": gpa, "length": length})


def _well_formed(headers: Headers, header: str, form: re.Pattern[str]) -> str:
    text = headers.get(header, "")
    return text if form.fullmatch(text) else ""


def nested_headers(call_id: str) -> dict[str, str]:
    """Return the headers by which a call that the current one nests names itself and its parent."""
    parent = CURRENT.get() or CallContext()
    parent.nesting.happened = True
    headers = {CALL_ID: call_id, PARENT_ID: parent.call_id, DEPTH: str(parent.depth + 1)}
    if parent.traceparent:
        version, trace_id, _, flags = parent.traceparent.split("-")
        headers[TRACEPARENT] = f"{version}-{trace_id}-{call_id[-16:].rjust(16, '0')}-{flags}"
    return headers
