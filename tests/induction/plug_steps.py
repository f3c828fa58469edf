"""A slot that is plugged into a VM, or taken from it."""

from induction.design import Tables
from induction.esm_steps import treat
from induction.hypervisor_steps import IDLE, OPEN, SCRUBBED
from induction.rule import Change, Rules
from induction.svm import FREE_TO_HOLD
from induction.variables import NO, NONE, YES, others
from pef_hypervisor.gfn.table import GfnEvent
from pef_protocol.states import HvGfnState


def add_plug_steps(rules: Rules, tables: Tables) -> None:
    """Add hot-add and hot-remove."""
    _plug(rules, tables)
    _unplug(rules)


def _plug(rules: Rules, tables: Tables) -> None:
    row = tables.row
    new: dict[str, Change] = {"here": YES, "hv": "NORMAL", "pop": NO, "stand": NO, "sent": NO, "reg": NO}
    new |= {"page": "ZERO", "zero_ok": YES, "secret": NO, "gone": NO}
    free = {**FREE_TO_HOLD, "here": NO, "slot": NONE}
    for unstarted in ({"hv_vm": "NORMAL"}, {"must_abort": YES}):
        rules.add("hot-add to a VM that is not started", {**free, **unstarted}, new)
    started = {**free, "hv_vm": others("hv_vm", "NORMAL"), "must_abort": NO}
    registers = {"hop": "PLUG_REGISTERS", "slot": "REGISTER"}
    if row.plugged_secure:
        rules.add("hot-add", started, {**new, "hop": "PLUG"})
        rules.add("HV registers the plugged slot", {"hop": "PLUGGED", **OPEN}, registers)
        rules.add("HV: a plug ends", {"hop": "PLUGGED", "rs": others("rs", NONE)}, {"hop": "PLUG_FAILED"})
    else:
        visible = row.plugged_visible
        rules.add("hot-add", started, {**new, **registers, "here": YES if visible else NO})
        rules.add("HV: a plug is done", {"hop": "PLUGGED"}, {"hop": NONE})
    for state in HvGfnState:
        when = {**IDLE, "hop": "PLUG", "hv": state.name}
        treat(rules, tables, GfnEvent.PLUG, state, when, {"hop": "PLUGGED"})
    made = {"hop": "PLUG_REGISTERS", "slot": "REGISTERED"}
    over = {"slot": NONE, "reg": YES, "here": YES, "hop": NONE if row.plugged_secure else "PLUG"}
    rules.add("HV: the plugged slot is registered", made, over)
    failed = {"slot": NONE, "hop": "PLUG_FAILED"}
    rules.add("HV: the plugged slot is refused", {"hop": "PLUG_REGISTERS", "slot": "REFUSED"}, failed)
    closed = {"rs": others("rs", NONE)}
    rules.add("HV: a plug ends", {"hop": "PLUG", **closed}, {"hop": "PLUG_FAILED"})
    left = {"hop": "PLUG_FAILED", "reg": YES, **closed}
    rules.add("HV leaves a plugged slot to the reset", left, {"hop": NONE})
    back = {"hop": "PLUG_FAILED", "ucall": NONE}
    rules.add(
        "HV takes a plugged slot back",
        {**back, "reg": YES, **OPEN},
        {"hop": "RECLAIM", "slot": "UNREGISTER"},
    )
    rules.add("HV takes a plugged slot back", {**back, "reg": NO}, {"hop": "DROP"})
    rules.add(
        "HV: the slot is busy", {"hop": "RECLAIM", "slot": "BUSY"}, {"hop": "PLUG_FAILED", "slot": NONE}
    )


def _unplug(rules: Rules) -> None:
    wanted = {**FREE_TO_HOLD, "here": YES, "ucall": NONE, "slot": NONE}
    rules.add("hot-remove", {**wanted, "reg": YES}, {"hop": "UNPLUG", "slot": "UNREGISTER"})
    rules.add("hot-remove", {**wanted, "reg": NO}, {"hop": "DROP"})
    rules.add("HV: the slot is busy", {"hop": "UNPLUG", "slot": "BUSY"}, {"hop": NONE, "slot": NONE})
    gone = {"slot": NONE, "reg": NO, "hop": "DROP"}
    rules.add("HV: the slot is unregistered", {"hop": ("RECLAIM", "UNPLUG"), "slot": "UNREGISTERED"}, gone)
    dropped: dict[str, Change] = {"hop": NONE, "here": NO, "hv": "NORMAL", "sent": NO, **SCRUBBED}
    rules.add("HV drops the slot", {"hop": "DROP"}, {**dropped, "zero_ok": YES, "secret": NO, "gone": NO})
