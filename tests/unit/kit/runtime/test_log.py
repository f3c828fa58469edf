"""The lines of a service: one per call, of what the trace holds, whatever callers call themselves."""

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from harness.in_process import LIFE, TOKENS, toy_service, visitor
from pef_kit.runtime.log import Log, LogForm, Records
from pef_protocol.events import Event, EventKind, EventPhase, Side
from pef_protocol.http import Role

CALL: Final = Event(
    8,
    Side.ULTRAVISOR,
    EventKind.CALL,
    EventPhase.END,
    "c1",
    "p1",
    "guest 7",
    "UV_SHARE_PAGE",
    1,
    {"gfn": 16, "count": 2},
    "U_P2",
    "in_slot",
    "GFN 16 lies in no slot",
    2,
    0.0123,
)


class Written:
    """What a log has written."""

    def __init__(self, form: LogForm) -> None:
        self.registry = CollectorRegistry()
        self.text = ""
        self.log = Log(Side.ULTRAVISOR, form, self.registry, self.write)

    def write(self, text: str) -> None:
        """Take lines."""
        self.text += text

    def lines(self) -> list[str]:
        """Return all lines that were written by now."""
        self.log.flush()
        return self.text.split("\n")[:-1]

    def dropped(self) -> float | None:
        """Return how many lines were counted as dropped."""
        return self.registry.get_sample_value("pef_log_lines_dropped_total")


def test_a_call_is_a_line_for_people() -> None:
    written = Written(LogForm.TEXT)
    written.log.of_event(CALL)
    (line,) = written.lines()
    assert line.split(" ", 1)[1] == (
        'info    ultravisor UV_SHARE_PAGE U_P2 caller="guest 7" gfns=2 ms=12.3 check=in_slot '
        'detail="GFN 16 lies in no slot" depth=1 call_id=c1 parent_id=p1 number=8 gfn=16 count=2'
    )


def test_a_call_is_an_object_for_programs() -> None:
    written = Written(LogForm.JSON)
    written.log.of_event(CALL)
    (line,) = written.lines()
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "side": "ultravisor",
        "message": "UV_SHARE_PAGE U_P2",
        "caller": "guest 7",
        "arguments": {"gfn": 16, "count": 2},
        "gfns": 2,
        "ms": 12.3,
        "check": "in_slot",
        "detail": "GFN 16 lies in no slot",
        "depth": 1,
        "call_id": "c1",
        "parent_id": "p1",
        "number": 8,
    }


@pytest.mark.parametrize("form", LogForm)
@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("phase", EventPhase)
def test_ends_of_calls_and_operations_have_a_line_where_it_is_asked_for(
    form: LogForm, kind: EventKind, phase: EventPhase
) -> None:
    written = Written(form)
    written.log.of_event(replace(CALL, kind=kind, phase=phase))
    wanted = form is not LogForm.OFF and kind is not EventKind.ACCESS and phase is EventPhase.END
    assert len(written.lines()) == wanted


def test_a_call_without_an_answer_is_an_error() -> None:
    written = Written(LogForm.JSON)
    written.log.of_event(replace(CALL, code="failed"))
    assert json.loads(written.lines()[0])["level"] == "error"


@given(st.text(max_size=200))
def test_nothing_that_a_caller_chose_ends_a_line(chosen: str) -> None:
    """Each line has one line break, at its end, and is of visible ASCII, or of visible characters."""
    for form in (LogForm.TEXT, LogForm.JSON):
        written = Written(form)
        written.log.refused(chosen, chosen, 404, chosen)
        written.log.client_left(chosen, chosen, 1, None)
        written.log.of_event(replace(CALL, call_id=chosen, detail=chosen, caller=chosen, name=chosen))
        lines = written.lines()
        assert len(lines) == 3
        assert all(line.isprintable() for line in lines)
        if form is LogForm.JSON:
            assert json.loads(lines[0]).get("reason", "") == chosen


def test_a_long_path_is_cut() -> None:
    written = Written(LogForm.TEXT)
    written.log.refused("GET", "/" + "x" * 60_000, 404, "not found")
    assert len(written.lines()[0]) < 250


@pytest.mark.parametrize("form", LogForm)
def test_a_record_of_a_library_is_a_line_of_the_same_form(form: LogForm) -> None:
    written = Written(form)
    logger = logging.getLogger("a library")
    logger.handlers, logger.propagate = [Records(written.log)], False
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("it %s\n", "failed")
    first, *rest = written.lines()
    if form is LogForm.JSON:
        found = json.loads(first)
        assert (found["message"], found["logger"], rest) == ("it failed", "a library", [])
        assert "ValueError: why" in found["traceback"]
    else:
        assert 'it failed logger="a library"' in first
        assert rest[-1] == "  ValueError: why"


@given(st.text(max_size=200))
def test_nothing_in_a_traceback_looks_like_a_line_of_the_log(chosen: str) -> None:
    written = Written(LogForm.TEXT)
    try:
        raise ValueError(chosen)
    except ValueError:
        record = logging.LogRecord("a library", logging.ERROR, "", 0, "it failed", (), sys.exc_info())
        written.log.of_record(record)
    _, *rest = written.lines()
    assert rest
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


@pytest.mark.parametrize("failure", [BrokenPipeError(), OSError(28, "no space"), ValueError("closed")])
def test_lines_that_nobody_takes_are_counted(failure: Exception) -> None:
    def write(_: str) -> None:
        raise failure

    registry = CollectorRegistry()
    log = Log(Side.HYPERVISOR, LogForm.TEXT, registry, write)
    for _ in range(3):
        log.of_event(CALL)
        log.flush()
    assert registry.get_sample_value("pef_log_lines_dropped_total") == 3


async def test_a_client_that_leaves_is_a_line_and_nothing_else() -> None:
    service = toy_service()
    written: list[str] = []
    service.observer.log._write = written.append
    came: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}],
    )

    async def receive() -> dict[str, Any]:
        return next(came)

    async def send(message: Any) -> None:
        assert message["type"].startswith("http.response")

    token = f"Bearer {TOKENS[Role.HYPERVISOR]}".encode()
    epoch = str(LIFE.epoch).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/ultracalls/UV_WRITE_PATE",
        "query_string": b"",
        "headers": [(b"authorization", token), (b"content-length", b"100"), (b"pef-epoch", epoch)],
    }
    await service.app(scope, receive, send)
    service.observer.log.flush()
    (line,) = "".join(written).splitlines()
    assert line.split(" ", 1)[1] == (
        'warning ultravisor a client left request="POST /v1/ultracalls/UV_WRITE_PATE" '
        'reason="1 of 100 bytes of the body came"'
    )


async def test_a_refused_request_is_a_line_where_lines_are_asked_for() -> None:
    service = toy_service()
    written = Written(LogForm.TEXT)
    service.app.middleware_stack = None
    for each in service.app.user_middleware:
        each.kwargs["log"] = written.log
    async with visitor(service, "nobody's token at all") as client:
        assert (await client.post("/v1/ultracalls/UV_ESM?secret=canary", json={})).status_code == 401
    (line,) = written.lines()
    assert 'refused with 401 request="POST /v1/ultracalls/UV_ESM"' in line
    assert "token at all" not in line
    assert "canary" not in line
