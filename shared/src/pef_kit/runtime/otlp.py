"""Exports spans by OTLP over HTTP, from a thread of its own: a receiver that is slow or down delays no call.

Trust: no variable of the OpenTelemetry libraries decides anything (`pef_kit.runtime.environment`); proxies
and `.netrc` are ignored.

Source: OpenTelemetry Protocol 1, "OTLP/HTTP"; docs/telemetry.md.
"""

import logging
import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter

from pef_kit.runtime.background import Background
from pef_kit.runtime.spans import DesignOf, Span, span_of
from pef_protocol.events import Event, Side

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

QUEUE_LENGTH: Final = 8192
"""Spans that wait for the thread; more are dropped."""
AT_ONCE: Final = 512
"""Spans of one request to the receiver."""
GATHERS: Final = 0.2
"""Seconds for which spans are gathered before a request."""
TIMEOUT: Final = 2.0
"""Longest time (seconds) of one request to the receiver, with all that is tried again."""


class ExtraMissing(Exception):
    """Spans are to be exported, and the libraries for that are not installed."""


class SpanExport:
    """Takes the ends of calls, and sends their spans to `endpoint` from a thread.

    Raises ExtraMissing where the extra `otel` is not installed.
    """

    def __init__(
        self,
        endpoint: str,
        side: Side,
        registry: CollectorRegistry,
        design_of: DesignOf,
        waiting: int = QUEUE_LENGTH,
    ) -> None:
        self._design_of = design_of
        spans = Counter("pef_spans", "Spans by what became of them", ["outcome"], registry=registry)
        self._sent, self._dropped = spans.labels("sent"), spans.labels("dropped")
        self._exporter, self._resource = _exporter_to(endpoint, side)
        self._waiting = Background(
            "spans", self._send, self._dropped.inc, waiting=waiting, at_once=AT_ONCE, gathers=GATHERS
        )

    def enqueue(self, event: Event, traceparent: str, *, nested: bool) -> None:
        """Take the end of a call, or count it as dropped where too many wait; never wait."""
        span = span_of(event, traceparent, time.time_ns(), self._design_of, nested=nested)
        if span is not None:
            self._waiting.put(span)

    async def close(self) -> None:
        """Send what waits, for a bounded time; count the rest as dropped."""
        await self._waiting.close()
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _send(self, batch: list[Span]) -> None:
        try:
            done = (
                self._exporter.export([_readable(span, self._resource) for span in batch]).name == "SUCCESS"
            )
        except Exception:  # noqa: BLE001 - the thread outlives whatever a receiver or a library does
            done = False
        (self._sent if done else self._dropped).inc(len(batch))


def _exporter_to(endpoint: str, side: Side) -> "tuple[OTLPSpanExporter, Resource]":
    try:
        import requests  # noqa: PLC0415 - only with the extra
        from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    except ImportError:
        message = f"PEF_OTLP_ENDPOINT needs an extra: pip install 'pef-{side}[otel]'"
        raise ExtraMissing(message) from None
    # Its lines would be one for each request that fails; /metrics counts those spans.
    for library in ("opentelemetry", "urllib3"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    session = requests.Session()
    session.trust_env = False
    exporter = OTLPSpanExporter(
        endpoint, headers={}, timeout=TIMEOUT, compression=Compression.NoCompression, session=session
    )
    return exporter, Resource({"service.name": f"pef-{side}"})


def _readable(span: Span, resource: "Resource") -> "ReadableSpan":
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 - only with the extra
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags  # noqa: PLC0415

    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = SpanContext(span.trace, span.parent, is_remote=True, trace_flags=flags) if span.parent else None
    return ReadableSpan(
        span.name,
        context=SpanContext(span.trace, span.span, is_remote=False, trace_flags=flags),
        parent=parent,
        resource=resource,
        attributes=span.attributes,
        kind=SpanKind.SERVER,
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=InstrumentationScope("pef_kit"),
    )
