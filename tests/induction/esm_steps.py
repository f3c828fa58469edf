"""UV_ESM: H_SVM_INIT_START, its phases, H_SVM_INIT_DONE and the commit."""

from collections.abc import Mapping

from induction.design import Tables
from induction.hypervisor_steps import IDLE, SCRUBBED, named
from induction.rule import Allowed, Change, Rules
from induction.svm import FREE_TO_HOLD
from induction.variables import ABSENT, NO, NONE, YES, others
from pef_hypervisor.gfn.table import GfnAction, GfnEvent, VmEvent
from pef_protocol.states import HvGfnState, HvVmState


def add_esm_steps(rules: Rules, tables: Tables) -> None:
    """Add UV_ESM, but for its abort."""
    _start(rules, tables)
    _done(rules, tables)


def _start(rules: Rules, tables: Tables) -> None:
    begun = {"uv_vm": "ACTIVE", "esm": "START_SENT", "asked": NO}
    rules.add("the guest calls UV_ESM", {"uv_vm": NONE, "esm": NONE}, begun)
    for state in HvVmState:
        cell = tables.vm[VmEvent.INIT_START][state]
        when = {**FREE_TO_HOLD, "esm": "START_SENT", "hv_vm": state.name}
        said = f"INIT_START x {state.name}"
        if not cell.code.succeeded:
            rules.add("HV refuses H_SVM_INIT_START", when, {"esm": "START_REFUSED"}, said)
            continue
        runs = {"hv_vm": cell.next_state.name, "must_abort": YES, "esm": "START_RUNS"}
        rules.add(
            "HV carries out H_SVM_INIT_START", {**when, "here": YES}, {**runs, "slot": "REGISTER"}, said
        )
        rules.add("HV carries out H_SVM_INIT_START", {**when, "here": NO}, runs, said)
    runs = {"esm": "START_RUNS"}
    rules.add("HV: the slot is registered", {**runs, "slot": "REGISTERED"}, {"slot": NONE, "registered": YES})
    rules.add("HV: the slot is refused", {**runs, "slot": "REFUSED"}, {"slot": NONE, "esm": "START_REFUSED"})
    over = {**runs, "slot": NONE}
    started = {"esm": "START_OK", "must_abort": NO}
    rules.add("HV: all is registered", {**over, "here": YES, "registered": YES}, started)
    rules.add("HV: all is registered", {**over, "here": NO}, started)
    back = {**over, "here": YES, "registered": YES}
    rules.add("HV: another slot is refused", back, {"slot": "UNREGISTER"})
    rules.add("HV: another slot is refused", {**over, "here": NO}, {"esm": "START_REFUSED"})
    taken = {"slot": NONE, "registered": NO, "esm": "START_REFUSED"}
    rules.add("HV: the slot is unregistered again", {**runs, "slot": "UNREGISTERED"}, taken)
    rules.add("HV: the slot is busy", {**runs, "slot": "BUSY"}, {"slot": "UNREGISTER"})
    rules.add("UV_ESM goes on", {"esm": "START_OK"}, {"esm": "PHASES"})
    gives_up = {"uv_vm": "ABORT", "esm": "ABORT_SENT"}
    rules.add("UV_ESM gives up", {"esm": "START_REFUSED"}, gives_up)
    rules.add("UV_ESM gives up", {"esm": "PHASES", "uv_op": NONE, "uv_vm": "ACTIVE"}, gives_up)


def _done(rules: Rules, tables: Tables) -> None:
    """Add H_SVM_INIT_DONE: what was not imported the guest may find as zeroes from now on."""
    ready = {"esm": "PHASES", "uv_op": NONE, "uv_vm": "ACTIVE"}
    if tables.settings.asks_for_every_gfn:  # a slot that was not there at that moment is not asked for
        rules.add("UV_ESM has asked for all", {**ready, "uv": ABSENT}, {"asked": YES})
        rules.add("UV_ESM has asked for all", {**ready, "uv": others("uv", ABSENT, "SECURE")}, {"asked": YES})
        rules.add("UV_ESM has asked for all", {**ready, "uv": "SECURE", "imported": YES}, {"asked": YES})
        ready["asked"] = YES
    sent = {"esm": "DONE_SENT"}
    rules.add("UV sends H_SVM_INIT_DONE", {**ready, "imported": NO}, {**sent, "zero_ok": YES})
    rules.add("UV sends H_SVM_INIT_DONE", {**ready, "imported": YES}, sent)
    rules.add(
        "HV refuses H_SVM_INIT_DONE",
        {"esm": ("DONE_SENT", "DONE_RUNS"), "ucall": NONE},
        {"esm": "DONE_REFUSED"},
    )
    runs = {**FREE_TO_HOLD, "esm": "DONE_SENT", "hv_vm": "TRANSIENT", "must_abort": NO}
    rules.add("HV carries out H_SVM_INIT_DONE", runs, {"esm": "DONE_RUNS"})
    rules.add("HV: no such slot", {"esm": "DONE_RUNS", "here": NO}, {"esm": "DONE_TREATED"})
    for state in HvGfnState:
        when = {"esm": "DONE_RUNS", **IDLE, "hv": state.name}
        treat(rules, tables, GfnEvent.INIT_DONE, state, when, {"esm": "DONE_TREATED"})
    for vm_state in HvVmState:
        cell = tables.vm[VmEvent.INIT_DONE][vm_state]
        if cell.code.succeeded:
            changes = {"hv_vm": cell.next_state.name, "esm": "DONE_OK"}
            rules.add("HV answers H_SVM_INIT_DONE", {"esm": "DONE_TREATED", "hv_vm": vm_state.name}, changes)
    rules.add("HV: another GFN can't be secured", {"esm": "DONE_TREATED"}, {"esm": "DONE_REFUSED"})
    rules.add("UV makes H_SVM_INIT_DONE again", {"esm": "DONE_REFUSED"}, sent)
    rules.add("UV_ESM gives up", {"esm": "DONE_REFUSED"}, {"uv_vm": "ABORT", "esm": "ABORT_SENT"})
    rules.add("UV begins the commit", {"esm": "DONE_OK"}, {"esm": "COMMITS", "imported": NO})
    rules.add("UV commits", {"esm": "COMMITS"}, {"esm": NONE, "uv_vm": "SECURE"})


def treat(
    rules: Rules,
    tables: Tables,
    event: GfnEvent,
    state: HvGfnState,
    when: Mapping[str, Allowed],
    treated: Mapping[str, Change],
) -> None:
    """Add what becomes of an unmigrated GFN."""
    cell = tables.hv[event][state]
    said, name = named(event, state, cell), f"HV treats the GFN at {event.name}"
    here = {**treated, "hv": cell.next_state.name, **SCRUBBED}
    if cell.action is GfnAction.NOTHING:
        rules.add(name, when, {**treated, "hv": cell.next_state.name}, said)
    elif cell.action is GfnAction.MARK:
        rules.add(name, when, here, said)
    else:
        call = {"ucall": "DONE" if event is GfnEvent.INIT_DONE else "PLUG", "ucall_at": "SENT"}
        rules.add(name, {**when, "host_populated": NO, "sent": NO}, here, said)
        rules.add(name, {**when, "host_populated": YES}, call, said)
        rules.add(name, {**when, "host_populated": NO, "sent": YES}, call, said)
