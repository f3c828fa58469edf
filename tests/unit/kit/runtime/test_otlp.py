"""Spans are sent from a thread: what the receiver does changes nothing, and what is lost is counted."""

import sys

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from harness.otlp_receiver import otlp_receiver
from pef_kit.runtime import otlp
from pef_kit.runtime.background import Background
from pef_kit.runtime.otlp import ExtraMissing, SpanExport
from pef_kit.runtime.serve import build_and_serve
from pef_kit.runtime.settings import ServiceSettings
from pef_protocol.events import Event, EventKind, EventPhase, Side

TRACE = f"00-{'1' * 32}-{'0' * 16}-01"


def event(number: int) -> Event:
    return Event(
        number,
        Side.HYPERVISOR,
        EventKind.CALL,
        EventPhase.END,
        f"c{number}",
        "",
        "ultravisor",
        "H_SVM_PAGE_IN",
        0,
        {"lpid": 1},
        "H_SUCCESS",
    )


def counted(registry: CollectorRegistry) -> tuple[float | None, float | None]:
    sent, dropped = (
        registry.get_sample_value("pef_spans_total", {"outcome": outcome}) for outcome in ("sent", "dropped")
    )
    return sent, dropped


async def test_what_waits_is_sent_at_the_end() -> None:
    registry = CollectorRegistry()
    async with otlp_receiver() as receiver:
        export = SpanExport(receiver.url, Side.HYPERVISOR, registry, lambda _: "tracked")
        for number in range(3):
            export.enqueue(event(number), TRACE, nested=False)
        await export.close()
        assert len({span.span for span in receiver.spans}) == 3
    assert counted(registry) == (3, 0)


async def test_spans_that_a_receiver_refuses_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "TIMEOUT", 0.2)
    registry = CollectorRegistry()
    async with otlp_receiver(500) as receiver:
        export = SpanExport(receiver.url, Side.HYPERVISOR, registry, lambda _: "")
        export.enqueue(event(1), TRACE, nested=False)
        await export.close()
    assert counted(registry) == (0, 1)


async def test_spans_beyond_the_bound_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    monkeypatch.setattr(Background, "_run", lambda _: None)
    export = SpanExport("http://127.0.0.1:1/", Side.HYPERVISOR, registry, lambda _: "", waiting=2)
    for number in range(5):
        export.enqueue(event(number), TRACE, nested=False)
    assert counted(registry) == (0, 3)


def test_without_the_extra_one_line_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(
        ExtraMissing, match=r"^PEF_OTLP_ENDPOINT needs .*pip install 'pef-hypervisor\[otel\]'$"
    ):
        SpanExport("http://127.0.0.1:1/", Side.HYPERVISOR, CollectorRegistry(), lambda _: "")


def test_a_service_that_may_not_start_ends_with_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def build(_: ServiceSettings) -> FastAPI:
        message = "install it"
        raise ExtraMissing(message)

    with pytest.raises(SystemExit) as ended:
        build_and_serve(build, ServiceSettings.model_construct())
    assert (ended.value.code, capsys.readouterr().err) == (2, "install it\n")
