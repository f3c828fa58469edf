"""What of an event becomes a span: nothing of the Ultravisor's that the Hypervisor does not observe."""

from dataclasses import replace

import pytest

from pef_kit.runtime.spans import Span, span_id, span_of
from pef_protocol.events import Event, EventKind, EventPhase, Side
from pef_protocol.http import Role

TRACE = f"00-{'0' * 31}7-{'0' * 15}9-00"
EVENT = Event(
    2,
    Side.ULTRAVISOR,
    EventKind.CALL,
    EventPhase.END,
    "00000000000000aa",
    "00000000000000bb",
    str(Role.HYPERVISOR),
    "UV_PAGE_IN",
    1,
    {"lpid": 5, "runs": "planted"},
    "U_P2",
    "a check",
    "planted",
    3,
    2e-9,
)


def made(event: Event, *, nested: bool = True) -> Span | None:
    return span_of(event, TRACE, 10, lambda lpid: f"design of {lpid}", nested=nested)


def test_a_call_of_the_hypervisor_says_how_it_ended() -> None:
    shown: dict[str, str | int] = {"pef.call": "UV_PAGE_IN", "pef.lpid": 5, "pef.design": "design of 5"}
    shown |= {"pef.code": "U_P2", "pef.gfns": 3, "pef.check": "a check"}
    assert made(EVENT, nested=False) == Span(7, 0xAA, 0xBB, "UV_PAGE_IN", 8, 10, shown)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("caller", ["guest 5", "observer", "vmm"])
@pytest.mark.parametrize("kind", EventKind)
def test_of_a_guest_the_ultravisor_shows_only_calls_that_nest(
    kind: EventKind, caller: str, nested: bool
) -> None:
    span = made(replace(EVENT, kind=kind, caller=caller), nested=nested)
    assert (span is not None) == (kind is EventKind.CALL and nested)
    if span is not None:
        assert span.attributes.keys() == {"pef.call", "pef.lpid", "pef.design"}


@pytest.mark.parametrize("kind", EventKind)
def test_the_hypervisor_shows_all_that_it_answers(kind: EventKind) -> None:
    span = made(replace(EVENT, side=Side.HYPERVISOR, kind=kind, caller="guest 5"), nested=False)
    assert span is not None
    assert "planted" not in repr(span)


def test_a_root_has_the_parent_that_its_trace_names() -> None:
    span = made(replace(EVENT, parent_id=""))
    assert span is not None
    assert span.parent == 9


@pytest.mark.parametrize("call_id", ["c1", "0" * 16, "A" * 16, "~" * 64])
def test_an_id_of_another_form_becomes_a_digest(call_id: str) -> None:
    assert 0 < span_id(call_id) < 1 << 64
    assert span_id(call_id) == span_id(call_id)
    assert f"{span_id(call_id):x}" not in call_id
