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
    begun = {"rs": NONE}
    rules.add("a reset begins", {**begun, "uv_vm": NONE, "esm": NONE}, {"rs": "WAITS"})
    rules.add("a reset begins", {**begun, "uv_vm": others("uv_vm", NONE)}, {"rs": "WAITS", "zero_ok": YES})
    alone = {"rs": "WAITS", **ALONE, "ab": NONE}
    rules.add("HV ends what may have begun", {**alone, "hv_vm": "NORMAL"}, {"rs": "TERMINATE"})
    started = {**alone, "hv_vm": others("hv_vm", "NORMAL")}
    rules.add("HV unregisters the slot", {**started, "reg": YES}, {"rs": "UNREGISTER", "slot": "UNREGISTER"})
    rules.add("HV has no registered slot", {**started, "reg": NO}, {"rs": "TERMINATE"})
    unregistered = {"rs": "UNREGISTER"}
    rules.add(
        "HV: the slot is unregistered",
        {**unregistered, "slot": "UNREGISTERED"},
        {"slot": NONE, "reg": NO, "rs": "TERMINATE"},
    )
    rules.add("HV: the slot is busy", {**unregistered, "slot": "BUSY"}, {"slot": NONE, "rs": "TERMINATE"})
    ends = {"rs": "TERMINATE", "uv_vm": others("uv_vm", NONE)}
    nobody = {"rs": "TERMINATE", "uv_vm": NONE}
    dropped = {"rs": "DROP", "hv_vm": "TRANSIENT", "must_abort": YES}
    for hv_vm, changes in (("NORMAL", {"rs": "RENEW"}), (others("hv_vm", "NORMAL"), dropped)):
        over = {**NO_SVM, "zero_ok": YES, **changes}
        rules.add("UV ends the SVM", {**ends, "hv_vm": hv_vm}, over)
        rules.add("UV: there is no SVM", {**nobody, "hv_vm": hv_vm}, changes)
    for state in HvGfnState:
        cell = tables.hv[GfnEvent.FORGET][state]
        dropped = {"rs": "DROP", "hv": state.name}
        said, kept = named(GfnEvent.FORGET, state, cell), {"hv": cell.next_state.name, "rs": "RENEW"}
        rules.add("HV drops the pages", {**dropped, "stand": NO}, kept, said)
        rules.add("HV drops the pages, and scrubs", {**dropped, "stand": YES}, {**kept, **SCRUBBED}, said)
    rules.add("UV: another SVM has begun", {"rs": "RENEW", "uv_vm": others("uv_vm", NONE)}, NO_SVM)
    over = {"rs": NONE, "hv_vm": ended(tables, HvVmState.TRANSIENT), "must_abort": NO}
    rules.add("HV: the reset is done", {"rs": "RENEW"}, {**over, "reg": NO, "stand": NO, "sent": NO})
