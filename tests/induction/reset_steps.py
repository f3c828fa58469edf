"""A reset, or a reboot: the SVM is ended, and the VM is a normal one."""

from induction.design import Tables
from induction.hypervisor_steps import ALONE, SCRUBBED, named
from induction.rule import Rules
from induction.svm import NO_SVM, ended
from induction.variables import NO, NONE, YES, others
from pef_hypervisor.gfn.table import GfnEvent
from pef_protocol.states import HvGfnState, HvVmState


def add_reset_steps(rules: Rules, tables: Tables) -> None:
    """Add a reset. What the SVM has the guest may find as zeroes from now on."""
    begun = {"resetting": NONE}
    rules.add("a reset begins", {**begun, "uv_vm": NONE, "esm": NONE}, {"resetting": "WAITS"})
    rules.add(
        "a reset begins", {**begun, "uv_vm": others("uv_vm", NONE)}, {"resetting": "WAITS", "zero_ok": YES}
    )
    alone = {"resetting": "WAITS", **ALONE, "aborting": NONE}
    rules.add("HV ends what may have begun", {**alone, "hv_vm": "NORMAL"}, {"resetting": "TERMINATE"})
    started = {**alone, "hv_vm": others("hv_vm", "NORMAL")}
    rules.add(
        "HV unregisters the slot",
        {**started, "registered": YES},
        {"resetting": "UNREGISTER", "slot": "UNREGISTER"},
    )
    rules.add("HV has no registered slot", {**started, "registered": NO}, {"resetting": "TERMINATE"})
    unregistered = {"resetting": "UNREGISTER"}
    rules.add(
        "HV: the slot is unregistered",
        {**unregistered, "slot": "UNREGISTERED"},
        {"slot": NONE, "registered": NO, "resetting": "TERMINATE"},
    )
    rules.add(
        "HV: the slot is busy", {**unregistered, "slot": "BUSY"}, {"slot": NONE, "resetting": "TERMINATE"}
    )
    ends = {"resetting": "TERMINATE", "uv_vm": others("uv_vm", NONE)}
    nobody = {"resetting": "TERMINATE", "uv_vm": NONE}
    dropped = {"resetting": "DROP", "hv_vm": "TRANSIENT", "must_abort": YES}
    for hv_vm, changes in (("NORMAL", {"resetting": "RENEW"}), (others("hv_vm", "NORMAL"), dropped)):
        over = {**NO_SVM, "zero_ok": YES, **changes}
        rules.add("UV ends the SVM", {**ends, "hv_vm": hv_vm}, over)
        rules.add("UV: there is no SVM", {**nobody, "hv_vm": hv_vm}, changes)
    for state in HvGfnState:
        cell = tables.hv[GfnEvent.FORGET][state]
        dropped = {"resetting": "DROP", "hv": state.name}
        said, kept = named(GfnEvent.FORGET, state, cell), {"hv": cell.next_state.name, "resetting": "RENEW"}
        rules.add("HV drops the pages", {**dropped, "stand_in": NO}, kept, said)
        rules.add("HV drops the pages, and scrubs", {**dropped, "stand_in": YES}, {**kept, **SCRUBBED}, said)
    rules.add("UV: another SVM has begun", {"resetting": "RENEW", "uv_vm": others("uv_vm", NONE)}, NO_SVM)
    over = {"resetting": NONE, "hv_vm": ended(tables, HvVmState.TRANSIENT), "must_abort": NO}
    rules.add(
        "HV: the reset is done",
        {"resetting": "RENEW"},
        {**over, "registered": NO, "stand_in": NO, "sent": NO},
    )
