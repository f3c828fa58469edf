"""Any unsigned 64-bit number in any argument: an answer of that call; if it is a refusal, nothing changes."""

from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.scripted_hypervisor import HYPERVISOR, ScriptedHypervisor, guest
from harness.ultravisor_fixtures import LPID, machine, put, secure_vm, sound, text
from pef_kit.runtime.bus import NORMAL_BASE
from pef_protocol.calls import CALLS, ULTRACALLS, Call
from pef_protocol.http import Caller, Role
from pef_protocol.quantities import PAGE_ORDER, SECURE_BIT, U64_MAX
from pef_protocol.states import UvGfnState as S

FIRST = 16
STATES = (
    S.SECURE,
    S.PAGEDOUT,
    S.SHARED,
    S.SHARED_INV,
    S.SHARED_IMPLICIT,
    S.PSEUDO_SHARED,
    S.SECURE,
    S.SECURE,
)
EDGES = [0, 1, 2, 8, 12, 16, 511, 512, 4095, 4096, SECURE_BIT, 1 << 46, 1 << 63, U64_MAX]
EDGES += [gfn << PAGE_ORDER for gfn in range(FIRST - 1, FIRST + 9)] + list(range(FIRST, FIRST + 9))
EDGES += [NORMAL_BASE + (page << PAGE_ORDER) for page in (0, 1, 2, 3, 40, 2047, 2048)]
NUMBER = (
    st.sampled_from(EDGES) | st.integers(0, U64_MAX) | st.integers(0, 32).map(lambda gfn: gfn << PAGE_ORDER)
)
MEMORY = 8 << 30
"""Slots that are registered are kept smaller than this, so that the test's own machine bears it."""

CALLERS = st.sampled_from(
    [
        HYPERVISOR,
        guest(LPID),
        guest(2),
        guest(3),
        Caller(Role.GUEST, None),
        Caller(Role.GUEST, guest(LPID).lpid, problem_state=True),
        Caller(Role.VMM),
        Caller(Role.OBSERVER),
    ]
)


def fixture() -> ScriptedHypervisor:
    hv = machine(secure_pages=16)
    svm = secure_vm(hv, LPID, (0, FIRST, 8))
    for at, state in enumerate(STATES):
        put(hv, FIRST + at, state, frame=text("text"), page=text("mail"))
    svm.files["disk-key"] = bytearray(100)
    hv.new_vm(2, (0, 0, 4))
    return hv


def argument(kind: Any) -> st.SearchStrategy[Any]:
    """Return what an argument of that type may be."""
    if kind is str:
        return st.sampled_from(["disk-key", "", "no-such-file"])
    width = getattr(kind, "WIDTH", None)
    if width is None:
        return NUMBER
    rows = st.lists(st.tuples(*[NUMBER] * width), max_size=4)
    return rows.map(kind.from_rows)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Call, object]:
    call = draw(st.sampled_from(ULTRACALLS))
    arguments = {field.name: draw(argument(field.type)) for field in fields(call.request)}
    if "lpid" in arguments:
        arguments["lpid"] = draw(st.sampled_from([LPID, LPID, 2, 3]) | NUMBER)
    if "order" in arguments:
        arguments["order"] = draw(st.sampled_from([16, 16, 16]) | NUMBER)
    if "flags" in arguments:
        arguments["flags"] = draw(st.sampled_from([0, 0, 0]) | NUMBER)
    return call, call.request(**arguments)


@settings(max_examples=400, deadline=None)
@given(requests(), CALLERS | st.none())
def test_any_request_of_any_caller(asked: tuple[Call, Any], caller: Caller | None) -> None:
    call, request = asked
    hv = fixture()
    rightful = HYPERVISOR if Role.HYPERVISOR in call.callers else guest(LPID)
    before, used = hv.uv.digest(), hv.uv.normal_pages.used
    reply = hv.ultracall(request, caller or rightful)
    assert sound(hv)
    runs = getattr(request, "runs", None)
    if runs is not None and reply.refused:
        assert {gpa for gpa, *_ in reply.refused} <= {U64_MAX} | covered(runs)
    if not reply.code.succeeded and (runs is None or all_refused(runs, reply.refused)):
        assert hv.uv.digest() == before
        assert hv.uv.normal_pages.used == used


def covered(runs: Any) -> set[int]:
    """Return every address at which a refused run may begin."""
    at = runs.COLUMNS.index("gpa")
    starts = {row[at] for row in runs}
    inside = {
        gpa + (page << PAGE_ORDER) & U64_MAX
        for gpa, count in ((row[at], row[at + 1]) for row in runs)
        for page in range(min(count, 16))
    }
    return starts | inside


def all_refused(runs: Any, refused: Any) -> bool:
    at = runs.COLUMNS.index("count")
    asked, reported = sum(row[at] for row in runs), sum(count for _, count, _ in refused)
    return bool(asked == reported)


def test_every_ultracall_is_asked_for() -> None:
    assert {call.name for call in ULTRACALLS} == {name for name in CALLS if name.startswith("UV_")}
