"""What the Hypervisor does with the GFN: hypercalls, host accesses, and the answers to its ultracalls.

A GFN with an ultracall outstanding is BUSY: nobody else of this side touches it. An answer of U_BUSY leaves
everything as it was; who made the call may make it again.
"""

from collections.abc import Mapping
from typing import Final

from induction.design import Tables
from induction.rule import Allowed, Change, Rules
from induction.ultracalls import IN
from induction.variables import ABSENT, EXCLUSIVE, NO, NONE, YES, Value, others
from pef_hypervisor.gfn.table import GfnAction, GfnCell, GfnEvent
from pef_protocol.codes import HCode
from pef_protocol.states import HvGfnState

OPEN: Final[Mapping[str, Allowed]] = {"aborting": NONE, "resetting": NONE}
"""The gate is open: operations and hypercalls may begin."""
IDLE: Final[Mapping[str, Allowed]] = {
    "ucall": NONE,
    "here": YES,
    "plugging": others("plugging", "RECLAIM", "UNPLUG", "DROP"),
}
"""No call of the Hypervisor has the GFN in flight."""
ALONE: Final[Mapping[str, Allowed]] = {
    "ucall": NONE,
    "plugging": NONE,
    "slot": NONE,
    "hcall_at": others("hcall_at", "CARRIED"),
    "esm": others("esm", *EXCLUSIVE),
}
"""No other operation of the Hypervisor is open."""
SCRUBBED: Final[Mapping[str, Change]] = {"page": "ZERO", "host_populated": NO, "stand_in": NO}
"""What a scrub of the normal page changes."""
REFUSED: Final = ("P2", "PARAMETER", "REFUSED")
EVENTS: Final[Mapping[Value, GfnEvent]] = {
    "PAGE_IN": GfnEvent.PAGE_IN,
    "SHARE": GfnEvent.SHARE,
    "OUT": GfnEvent.HOST_TOUCH,
    "UNMAP": GfnEvent.UNMAP,
    "DONE": GfnEvent.INIT_DONE,
    "PLUG": GfnEvent.PLUG,
    "CLEAR": GfnEvent.INIT_ABORT,
    "ASK": GfnEvent.INIT_ABORT,
    "BACK": GfnEvent.PAGE_IN,
}
"""The event for which each ultracall is made."""
SHARING: Final = ("FETCH_SHARED", "SHARE", "SHARE_IMPLICIT")
BRINGING: Final = ("FETCH", "IMPORT", "UNSHARE", "UNSHARE_ALL")


def add_hypervisor_steps(rules: Rules, tables: Tables) -> None:
    """Add all steps of the Hypervisor that concern the GFN alone."""
    for state in HvGfnState:
        _arrive(rules, tables, state)
        _touch(rules, tables, state)
        for call, event in EVENTS.items():
            if call not in {"CLEAR", "ASK", "BACK"}:
                _accepted(rules, tables, call, event, state)
    _answers(rules, tables)
    _host_writes(rules)


def named(event: GfnEvent, state: HvGfnState, cell: GfnCell) -> str:
    """Return a cell of the Hypervisor's table in words."""
    return f"{event.name} x {state.name} = {cell.next_state.name}, {cell.code.name}, {cell.action.name}"


def _arrive(rules: Rules, tables: Tables, state: HvGfnState) -> None:
    """Add H_SVM_PAGE_IN of the GFN, to be secure or shared; it may be answered H_BUSY at any time."""
    started = {"hv_vm": others("hv_vm", "NORMAL"), "must_abort": NO}
    for uv_ops, event in ((BRINGING, GfnEvent.PAGE_IN), (SHARING, GfnEvent.SHARE)):
        cell = tables.hv[event][state]
        for hcall_at in ("SENT", "CARRIED"):  # one that the Ultravisor was too busy for is made again
            when = {**OPEN, **IDLE, **started, "hcall_at": hcall_at, "uv_op": uv_ops, "hv": state.name}
            said = named(event, state, cell)
            call = "PAGE_IN" if event is GfnEvent.PAGE_IN else "SHARE"
            _judge(rules, cell, when, said, call)
    if state is HvGfnState.NORMAL:
        arriving = {"hcall_at": "SENT", **OPEN}
        rules.add("HV answers H_BUSY", {"hcall_at": ("SENT", "CARRIED"), "ucall": NONE}, {"hcall_at": "BUSY"})
        for which in ({"hv_vm": "NORMAL"}, {"must_abort": YES}, {"here": NO}):
            rules.add("HV refuses a hypercall", {**arriving, **which}, {"hcall_at": "REFUSED"})


def _judge(rules: Rules, cell: GfnCell, when: Mapping[str, Allowed], said: str, call: Value) -> None:
    again = when["hcall_at"] == "CARRIED"
    if cell.code is not HCode.H_SUCCESS:
        if not again:
            rules.add("HV refuses H_SVM_PAGE_IN", when, {"hcall_at": "REFUSED"}, said)
        return
    sent: dict[str, Change] = {"ucall": call, "ucall_at": "SENT", "hcall_at": "CARRIED"}
    name = f"HV sends UV_PAGE_IN for H_SVM_PAGE_IN ({call})"
    if cell.action is not GfnAction.PAGE_IN or when["hv"] != HvGfnState.NORMAL.name:
        rules.add(name, when, sent, said)
        return
    untouched = {**when, "host_populated": NO, "sent": NO}
    if not again:
        there = {"hv": cell.next_state.name, "hcall_at": "OK"}
        rules.add("HV has never touched the page", untouched, there, said)
    rules.add(name, {**when, "host_populated": YES}, sent, said)
    rules.add(name, {**when, "host_populated": NO, "sent": YES}, sent, said)


def _touch(rules: Rules, tables: Tables, state: HvGfnState) -> None:
    """Add the host's accesses that make ultracalls, at any moment at which the gate is open."""
    cells = tables.hv
    for call, event in (("OUT", GfnEvent.HOST_TOUCH), ("UNMAP", GfnEvent.UNMAP)):
        cell = cells[event][state]
        if cell.action is GfnAction.NOTHING:
            continue
        when = {**OPEN, **IDLE, "hv": state.name} | ({"registered": YES} if call == "UNMAP" else {})
        rules.add(
            f"HV begins: {event.name}", when, {"ucall": call, "ucall_at": "SENT"}, named(event, state, cell)
        )


def _host_writes(rules: Rules) -> None:
    """Add the host's writes: into a shared or normal page, or over the encrypted bytes."""
    when = {**OPEN, **IDLE, "hv": others("hv", "SECURE")}
    lost = {"page": "OTHER", "host_populated": YES, "zero_ok": YES}
    rules.add("the host writes over ciphertext", {**when, "page": "SEALED"}, lost)
    plain = {**when, "page": ("ZERO", "GUEST", "HOST")}
    seen, unseen = (
        {"page": "GUEST", "host_populated": YES, "secret": NO},
        {"page": "HOST", "host_populated": YES},
    )
    elsewhere = {**plain, "frame": ("ZERO", "OTHER")}
    rules.add("the host writes", {**plain, "frame": "GUEST"}, unseen)
    private = (ABSENT, "SECURE", "HV_SHARING", "HV_SHARED", "HV_SHARED_INV")
    rules.add("the host writes", {**elsewhere, "uv": private, "hv_vm": "SECURE"}, unseen)
    rules.add("the host writes", {**elsewhere, "uv": private, "hv_vm": others("hv_vm", "SECURE")}, seen)
    rules.add("the host writes", {**elsewhere, "uv": others("uv", *private)}, seen)


def _accepted(rules: Rules, tables: Tables, call: Value, event: GfnEvent, state: HvGfnState) -> None:
    """Add what the Hypervisor does once the Ultravisor has accepted."""
    cell = tables.hv[event][state]
    when = {"ucall": call, "ucall_at": "OK", "hv": state.name}
    changes: dict[str, Change] = {"ucall": NONE, "ucall_at": NONE, "hv": cell.next_state.name}
    if call in IN and call != "SHARE":
        changes |= {**SCRUBBED, "sent": YES, **_went_on(call)}
    elif call == "SHARE":
        changes |= {"host_populated": YES, "hcall_at": "OK"} | (
            {"stand_in": YES} if state is HvGfnState.SECURE else {}
        )
    elif call == "OUT":
        changes |= {"host_populated": YES, "stand_in": YES}
    elif call == "UNMAP":
        for uv, gone in ((("SECURE", "PAGEDOUT", "ABSENT"), {}), (_elsewhere(), {"gone": YES})):
            rules.add("HV: UV_PAGE_INVAL is done", {**when, "uv": uv}, {**changes, **gone}, "")
        return
    rules.add(f"HV: accepted, {call}", when, changes, named(event, state, cell))


def _elsewhere() -> tuple[Value, ...]:
    return others("uv", "SECURE", "PAGEDOUT", "ABSENT")


def _went_on(call: Value) -> dict[str, Change]:
    """Return how the operation goes on that made a UV_PAGE_IN which was accepted."""
    on: dict[Value, dict[str, Change]] = {
        "PAGE_IN": {"hcall_at": "OK"},
        "DONE": {"esm": "DONE_TREATED"},
        "PLUG": {"plugging": "PLUGGED"},
    }
    return on[call]


def _answers(rules: Rules, tables: Tables) -> None:
    """Add what the Hypervisor does with answers that are no success."""
    over = {"ucall": NONE, "ucall_at": NONE}
    calls = ("PAGE_IN", "SHARE", "OUT", "UNMAP", "DONE", "PLUG")
    rules.add("HV: U_BUSY", {"ucall": calls, "ucall_at": "BUSY"}, over)
    rules.add(
        "HV: refused, PAGE_IN", {"ucall": "PAGE_IN", "ucall_at": REFUSED}, {**over, "hcall_at": "REFUSED"}
    )
    rules.add(
        "HV: refused, SHARE of a secure page",
        {"ucall": "SHARE", "ucall_at": REFUSED, "hv": "SECURE"},
        {**over, **SCRUBBED, "hcall_at": "REFUSED"},
    )
    rules.add(
        "HV: refused, SHARE",
        {"ucall": "SHARE", "ucall_at": REFUSED, "hv": others("hv", "SECURE")},
        {**over, "hcall_at": "REFUSED"},
    )
    rules.add("HV: refused, OUT", {"ucall": "OUT", "ucall_at": REFUSED}, {**over, **SCRUBBED})
    two = HvGfnState.SHARED not in tables.row.states
    for uv in (("SECURE", "PAGEDOUT", "ABSENT"), _elsewhere()):
        gone = {"gone": YES} if two and uv != ("SECURE", "PAGEDOUT", "ABSENT") else {}
        rules.add(
            "HV: U_P2 to UV_PAGE_INVAL", {"ucall": "UNMAP", "ucall_at": "P2", "uv": uv}, {**over, **gone}
        )
    rules.add("HV: refused, UNMAP", {"ucall": "UNMAP", "ucall_at": ("PARAMETER", "REFUSED")}, over)
    kept = {code.name.removeprefix("U_") for code in tables.row.leaves}
    for code in REFUSED:
        done = "DONE_TREATED" if code in kept else "DONE_REFUSED"
        rules.add("HV: refused, DONE", {"ucall": "DONE", "ucall_at": code}, {**over, "esm": done})
        plugged = "PLUGGED" if code in kept else "PLUG_FAILED"
        rules.add("HV: refused, PLUG", {"ucall": "PLUG", "ucall_at": code}, {**over, "plugging": plugged})
