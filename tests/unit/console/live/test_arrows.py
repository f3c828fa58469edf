"""Events of both sides in one order, and as arrows."""

from itertools import permutations
from typing import Any

from pef_console.live.arrows import Arrows, in_order, why_of
from pef_protocol.events import Side

UV, HV = Side.ULTRAVISOR, Side.HYPERVISOR


def event(
    side: Side, phase: str, call: str, parent: str = "", name: str = "UV_ESM", **more: Any
) -> dict[str, Any]:
    """Return an event as an observer reads it."""
    found = {
        "kind": "call",
        "caller": "hypervisor",
        "depth": 0,
        "code": "",
        "check": "",
        "detail": "",
        "arguments": {"lpid": 1},
    }
    named = {"side": side.value, "phase": phase, "call_id": call, "parent_id": parent, "name": name}
    return found | named | more


BOOT = {
    UV: [
        event(UV, "begin", "a"),
        event(UV, "begin", "c", "b", "UV_PAGE_IN"),
        event(UV, "end", "c", "b", "UV_PAGE_IN", code="U_BUSY"),
        event(UV, "end", "a", code="U_SUCCESS"),
    ],
    HV: [
        event(HV, "begin", "b", "a", "H_SVM_PAGE_IN"),
        event(HV, "end", "b", "a", "H_SVM_PAGE_IN", code="H_BUSY"),
    ],
}


def test_what_is_nested_stands_inside_whichever_side_is_read_first() -> None:
    for sides in permutations(BOOT):
        ordered = in_order({side: BOOT[side] for side in sides})
        assert [(each["call_id"], each["phase"]) for each in ordered] == [
            ("a", "begin"),
            ("b", "begin"),
            ("c", "begin"),
            ("c", "end"),
            ("b", "end"),
            ("a", "end"),
        ]


def test_what_is_open_is_a_stack_of_calls() -> None:
    arrows = Arrows(1)
    arrows.take(1, {UV: BOOT[UV][:2], HV: BOOT[HV][:1]})
    assert [(each.side, each.name) for each in arrows.stack("a")] == [
        (UV, "UV_ESM"),
        (HV, "H_SVM_PAGE_IN"),
        (UV, "UV_PAGE_IN"),
    ]
    assert arrows.any_open
    arrows.take(2, {UV: BOOT[UV][2:], HV: BOOT[HV][1:]})
    assert arrows.stack("a") == []
    assert [each.node for each in arrows.last(9)] == [1, 1, 1, 2, 2, 2]


def test_events_of_another_vm_are_not_shown() -> None:
    arrows = Arrows(1)
    other = event(UV, "begin", "x") | {"arguments": {"lpid": 2}, "caller": "hypervisor"}
    own = event(UV, "begin", "y") | {"arguments": {}, "caller": "guest 1"}
    arrows.take(0, {UV: [other, own], HV: []})
    assert [each.call_id for each in arrows.last(9)] == ["y"]


def test_a_code_that_a_check_gave_says_why() -> None:
    why = why_of("UV_PAGE_IN", "ra")
    assert why["sentence"].startswith("a source that is not whole normal pages")
    assert why["source"]
    assert why_of("no such call", "x") == {"check": "x", "sentence": "", "source": ""}


def test_more_events_than_can_be_ordered_at_once_keep_each_sides_order() -> None:
    many = {side: [event(side, "begin", f"{side}{n}", f"{n}") for n in range(600)] for side in (UV, HV)}
    assert len(in_order(many)) == 1200
