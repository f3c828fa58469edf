"""H_SVM_INIT_ABORT, step by step: see `pef_hypervisor.memory.restore`."""

from induction.design import Tables
from induction.hypervisor_steps import ALONE, OPEN, REFUSED, SCRUBBED, named
from induction.rule import Change, Rules
from induction.svm import DONE_WITH, FREE_TO_HOLD, NO_SVM, ended
from induction.variables import NO, NONE, YES
from pef_hypervisor.gfn.table import GfnAction, GfnEvent
from pef_protocol.states import HvGfnState, HvVmState


def add_abort_steps(rules: Rules, tables: Tables) -> None:
    """Add H_SVM_INIT_ABORT, step by step: see `pef_hypervisor.memory.restore`."""
    arriving = {**FREE_TO_HOLD, "esm": "ABORT_SENT", "hv_vm": "TRANSIENT"}
    rules.add(
        "HV begins H_SVM_INIT_ABORT", arriving, {"esm": "ABORT_RUNS", "aborting": "WAITS", "must_abort": YES}
    )
    rules.add("HV: there is nothing to abort", {"esm": "ABORT_SENT", **OPEN, "hv_vm": "NORMAL"}, NO_SVM)
    rules.add("HV refuses H_SVM_INIT_ABORT", {"esm": "ABORT_SENT", "hv_vm": "SECURE"}, {"esm": NONE})
    rules.add("UV makes H_SVM_INIT_ABORT again", {"esm": "ABORT_REFUSED"}, {"esm": "ABORT_SENT"})
    alone = {name: allowed for name, allowed in ALONE.items() if name != "esm"}
    rules.add("HV is alone", {"aborting": "WAITS", **alone}, {"aborting": "FETCH"})
    every = ("WAITS", "FETCH", "ASK", "BACK", "AGAIN", "SCRUB", "TERMINATE")
    failed = {"aborting": NONE, "esm": "ABORT_REFUSED"}
    rules.add("HV gives H_SVM_INIT_ABORT up", {"aborting": every[:-1], "ucall": NONE}, failed)
    rules.add("HV has no such GFN", {"aborting": "FETCH", "here": NO}, {"aborting": "TERMINATE"})
    for step, following in (("FETCH", "ASK"), ("AGAIN", "SCRUB")):
        for state in HvGfnState:
            _fetch(rules, tables, state, step, following)
    for state in HvGfnState:
        _ask(rules, tables, state)
        _scrub_unknown(rules, tables, state)
    rules.add("UV ends the SVM", {"aborting": "TERMINATE"}, {**NO_SVM, "aborting": "PLAIN"})
    plain = {"aborting": NONE, "hv_vm": ended(tables, HvVmState.TRANSIENT), "must_abort": NO}
    rules.add(
        "HV: the VM is normal again",
        {"aborting": "PLAIN"},
        {**plain, "registered": NO, "stand_in": NO, "sent": NO},
    )


def _given_up(tables: Tables, state: HvGfnState) -> dict[str, Change]:
    return {**SCRUBBED, "hv": tables.hv[GfnEvent.FORGET][state].next_state.name}


def _fetch(rules: Rules, tables: Tables, state: HvGfnState, step: str, following: str) -> None:
    """Add how a secure page is got back in clear."""
    cell = tables.hv[GfnEvent.INIT_ABORT][state]
    at, said = {"aborting": step, "hv": state.name, "here": YES}, named(GfnEvent.INIT_ABORT, state, cell)
    if cell.action is not GfnAction.RESTORE_CLEARTEXT:
        rules.add("HV: nothing to fetch", {**at, "ucall": NONE}, {"aborting": following}, said)
        return
    normal = {"hv": cell.next_state.name}
    never = {**at, "ucall": NONE, "sent": NO}
    rules.add("HV: it was never sent", never, {**normal, "aborting": following}, said)
    sent = {"ucall": "CLEAR", "ucall_at": "SENT"}
    rules.add("HV asks for it in clear", {**at, "ucall": NONE, "sent": YES}, sent, said)
    mine = {**at, "ucall": "CLEAR"}
    got = {**DONE_WITH, **normal, "host_populated": YES, "stand_in": NO, "aborting": following}
    rules.add("HV: it came in clear", {**mine, "ucall_at": "OK"}, got, said)
    lost = {**DONE_WITH, **_given_up(tables, state), "aborting": following}
    rules.add("HV: it is refused, and lost", {**mine, "ucall_at": REFUSED}, lost, said)
    rules.add("HV: U_BUSY", {**mine, "ucall_at": "BUSY"}, DONE_WITH)


def _ask(rules: Rules, tables: Tables, state: HvGfnState) -> None:
    """Add how the Ultravisor is asked for what stands in for a secure page."""
    cell = tables.hv[GfnEvent.INIT_ABORT][state]
    at, said = {"aborting": "ASK", "hv": state.name}, named(GfnEvent.INIT_ABORT, state, cell)
    asks = cell.action is GfnAction.RESTORE_STAND_IN
    rules.add(
        "HV: nothing to ask for",
        {**at, "ucall": NONE, "stand_in": NO if asks else (NO, YES)},
        {"aborting": "SCRUB"},
        said,
    )
    if not asks:
        return
    rules.add(
        "HV asks for it", {**at, "ucall": NONE, "stand_in": YES}, {"ucall": "ASK", "ucall_at": "SENT"}, said
    )
    mine = {**at, "ucall": "ASK"}
    there = {**DONE_WITH, "hv": cell.next_state.name, "stand_in": NO, "aborting": "SCRUB"}
    rules.add("HV: it is there", {**mine, "ucall_at": "OK"}, there, said)
    rules.add(
        "HV: it is paged out", {**mine, "ucall_at": "PARAMETER"}, {**DONE_WITH, "aborting": "BACK"}, said
    )
    lost = {**DONE_WITH, **_given_up(tables, state), "aborting": "SCRUB"}
    rules.add("HV: it is refused, and lost", {**mine, "ucall_at": ("P2", "REFUSED")}, lost, said)
    rules.add("HV: U_BUSY", {**mine, "ucall_at": "BUSY"}, DONE_WITH)
    back = {"aborting": "BACK", "hv": state.name}
    rules.add("HV sends it back in", {**back, "ucall": NONE}, {"ucall": "BACK", "ucall_at": "SENT"})
    again = tables.hv[GfnEvent.PAGE_IN][state]
    mine = {**back, "ucall": "BACK"}
    went = {**DONE_WITH, **SCRUBBED, "hv": again.next_state.name, "sent": YES, "aborting": "AGAIN"}
    rules.add("HV: it is in again", {**mine, "ucall_at": "OK"}, went, named(GfnEvent.PAGE_IN, state, again))
    rules.add("HV: it is refused, and lost", {**mine, "ucall_at": REFUSED}, lost)
    rules.add("HV: U_BUSY", {**mine, "ucall_at": "BUSY"}, DONE_WITH)


def _scrub_unknown(rules: Rules, tables: Tables, state: HvGfnState) -> None:
    """Add the end of the pages: what may be encrypted is scrubbed, and the GFN is normal."""
    cell = tables.hv[GfnEvent.INIT_ABORT][state]
    at, said = {"aborting": "SCRUB", "hv": state.name, "ucall": NONE}, named(GfnEvent.INIT_ABORT, state, cell)
    over = {"hv": cell.next_state.name, "aborting": "TERMINATE"}
    known = state is HvGfnState.SHARED
    rules.add("HV: the GFN is normal", {**at, "stand_in": (NO, YES) if known else NO}, over, said)
    if not known:
        forgotten = tables.hv[GfnEvent.INIT_ABORT][tables.hv[GfnEvent.FORGET][state].next_state]
        lost = {**over, **SCRUBBED, "hv": forgotten.next_state.name}
        rules.add("HV scrubs what may be encrypted", {**at, "stand_in": YES}, lost, said)
