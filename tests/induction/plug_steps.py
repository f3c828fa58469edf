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
    new: dict[str, Change] = {
        "here": YES,
        "hv": "NORMAL",
        "host_populated": NO,
        "stand_in": NO,
        "sent": NO,
        "registered": NO,
    }
    new |= {"page": "ZERO", "zero_ok": YES, "secret": NO, "gone": NO}
    free = {**FREE_TO_HOLD, "here": NO, "slot": NONE}
    for unstarted in ({"hv_vm": "NORMAL"}, {"must_abort": YES}):
        rules.add("hot-add to a VM that is not started", {**free, **unstarted}, new)
    started = {**free, "hv_vm": others("hv_vm", "NORMAL"), "must_abort": NO}
    registers = {"plugging": "PLUG_REGISTERS", "slot": "REGISTER"}
    if row.plugged_secure:
        rules.add("hot-add", started, {**new, "plugging": "PLUG"})
        rules.add("HV registers the plugged slot", {"plugging": "PLUGGED", **OPEN}, registers)
        rules.add(
            "HV: a plug ends",
            {"plugging": "PLUGGED", "resetting": others("resetting", NONE)},
            {"plugging": "PLUG_FAILED"},
        )
    else:
        visible = row.plugged_visible
        rules.add("hot-add", started, {**new, **registers, "here": YES if visible else NO})
        rules.add("HV: a plug is done", {"plugging": "PLUGGED"}, {"plugging": NONE})
    for state in HvGfnState:
        when = {**IDLE, "plugging": "PLUG", "hv": state.name}
        treat(rules, tables, GfnEvent.PLUG, state, when, {"plugging": "PLUGGED"})
    made = {"plugging": "PLUG_REGISTERS", "slot": "REGISTERED"}
    over = {"slot": NONE, "registered": YES, "here": YES, "plugging": NONE if row.plugged_secure else "PLUG"}
    rules.add("HV: the plugged slot is registered", made, over)
    failed = {"slot": NONE, "plugging": "PLUG_FAILED"}
    rules.add("HV: the plugged slot is refused", {"plugging": "PLUG_REGISTERS", "slot": "REFUSED"}, failed)
    closed = {"resetting": others("resetting", NONE)}
    rules.add("HV: a plug ends", {"plugging": "PLUG", **closed}, {"plugging": "PLUG_FAILED"})
    left = {"plugging": "PLUG_FAILED", "registered": YES, **closed}
    rules.add("HV leaves a plugged slot to the reset", left, {"plugging": NONE})
    back = {"plugging": "PLUG_FAILED", "ucall": NONE}
    rules.add(
        "HV takes a plugged slot back",
        {**back, "registered": YES, **OPEN},
        {"plugging": "RECLAIM", "slot": "UNREGISTER"},
    )
    rules.add("HV takes a plugged slot back", {**back, "registered": NO}, {"plugging": "DROP"})
    rules.add(
        "HV: the slot is busy",
        {"plugging": "RECLAIM", "slot": "BUSY"},
        {"plugging": "PLUG_FAILED", "slot": NONE},
    )


def _unplug(rules: Rules) -> None:
    wanted = {**FREE_TO_HOLD, "here": YES, "ucall": NONE, "slot": NONE}
    rules.add("hot-remove", {**wanted, "registered": YES}, {"plugging": "UNPLUG", "slot": "UNREGISTER"})
    rules.add("hot-remove", {**wanted, "registered": NO}, {"plugging": "DROP"})
    rules.add(
        "HV: the slot is busy", {"plugging": "UNPLUG", "slot": "BUSY"}, {"plugging": NONE, "slot": NONE}
    )
    gone = {"slot": NONE, "registered": NO, "plugging": "DROP"}
    rules.add(
        "HV: the slot is unregistered", {"plugging": ("RECLAIM", "UNPLUG"), "slot": "UNREGISTERED"}, gone
    )
    dropped: dict[str, Change] = {"plugging": NONE, "here": NO, "hv": "NORMAL", "sent": NO, **SCRUBBED}
    rules.add(
        "HV drops the slot", {"plugging": "DROP"}, {**dropped, "zero_ok": YES, "secret": NO, "gone": NO}
    )
