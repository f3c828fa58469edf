"""What a service tells of itself: a ring of call events, and counters for Prometheus.

Trust: an event holds names, numbers of the protocol and counts. Contents of pages never come here.
"""

import itertools
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from pef_protocol.events import CallEvent, Side

RING: Final = 65536
"""Events that are kept; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """The call that the current task answers: its id, its depth, and the trace it belongs to.

    `deadline`: when (by the event loop's clock) its caller stops waiting; None where nobody said.
    """

    call_id: str = ""
    depth: int = 0
    traceparent: str = ""
    deadline: float | None = None


CURRENT: ContextVar[CallContext | None] = ContextVar("CURRENT", default=None)


class Observer:
    """Records the calls that one side answered; counts calls, pages, bytes and seconds."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.clock = itertools.count(1)
        self._events: deque[CallEvent] = deque(maxlen=RING)
        self._registry = CollectorRegistry()
        self.calls = Counter("pef_calls", "Calls answered", ["call", "code"], registry=self._registry)
        self.pages = Counter("pef_pages", "GFNs carried by calls", ["call"], registry=self._registry)
        self.moved = Counter(
            "pef_bytes_moved", "Bytes moved over the memory bus", ["way"], registry=self._registry
        )
        self.seconds = Histogram(
            "pef_call_seconds", "Time until a call was answered", ["call"], registry=self._registry
        )

    def record(self, event: CallEvent) -> None:
        """Keep an event and count it."""
        self._events.append(event)
        self.calls.labels(event.name, event.code).inc()
        self.pages.labels(event.name).inc(event.pages)
        self.seconds.labels(event.name).observe(event.seconds)

    def since(self, after: int, limit: int = RING) -> list[dict[str, Any]]:
        """Return the events that ended after event number `after`, oldest first."""
        fresh: Iterable[CallEvent] = (event for event in self._events if event.ended > after)
        return [asdict(event) for event in itertools.islice(fresh, limit)]

    def exposition(self) -> bytes:
        """Return the counters in Prometheus' text format."""
        return generate_latest(self._registry)
