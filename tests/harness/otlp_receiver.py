"""A receiver of spans: an HTTP server that decodes what OTLP carries, or misbehaves as a test likes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.types import Receive, Scope, Send

from harness.loopback import served


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it was received; ids in hexadecimal, `parent` empty at a root."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    attributes: dict[str, str | int]


@dataclass(slots=True)
class OtlpReceiver:
    """Keeps what it receives. `status`: what it answers."""

    status: int = 200
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        self.headers += scope["headers"]
        self.came.set()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @property
    def spans(self) -> list[ReceivedSpan]:
        """Return all spans that came."""
        return [
            ReceivedSpan(
                next(
                    pair.value.string_value for pair in part.resource.attributes if pair.key == "service.name"
                ),
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes},
            )
            for body in self.bodies
            for part in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]


@asynccontextmanager
async def otlp_receiver(status: int = 200) -> AsyncIterator[OtlpReceiver]:
    """Serve a receiver on a real socket."""
    receiver = OtlpReceiver(status)
    async with served(receiver) as url:
        receiver.url = url + "/v1/traces"
        yield receiver
