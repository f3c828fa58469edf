"""What is done to the whole VM, as far as the GFN goes.

The other GFNs of the VM are there by what they may do to this one: a step that needs all of them may fail at
any time, and the SVM may be aborted for another GFN's sake.
"""

from induction.abort_steps import add_abort_steps
from induction.design import Tables
from induction.esm_steps import add_esm_steps
from induction.hypervisor_steps import IDLE, OPEN
from induction.plug_steps import add_plug_steps
from induction.reset_steps import add_reset_steps
from induction.rule import Rules
from induction.svm import GONE
from induction.variables import ABSENT, NO, NONE, YES, others


def add_vm_steps(rules: Rules, tables: Tables) -> None:
    """Add all steps that are done to the whole VM."""
    _normal_vm(rules)
    _slot_calls(rules)
    add_esm_steps(rules, tables)
    add_abort_steps(rules, tables)
    add_reset_steps(rules, tables)
    add_plug_steps(rules, tables)
    rules.add("UV: the SVM is aborted for another GFN's sake", {"uv_vm": "SECURE"}, {"uv_vm": "ABORT"})


def _normal_vm(rules: Rules) -> None:
    stores = {**OPEN, **IDLE, "hv_vm": "NORMAL"}
    rules.add(
        "the guest stores", stores, {"page": "GUEST", "zero_ok": NO, "secret": NO, "host_populated": YES}
    )


def _slot_calls(rules: Rules) -> None:
    """Add what the Ultravisor does with a slot call; a slot of which something is in flight stays."""
    register = {"slot": "REGISTER"}
    runs = {**register, "uv_vm": ("ACTIVE", "SECURE")}
    new = {"slot": "REGISTERED", "uv": "SECURE", "imported": NO, "mapped": NO, "frame": "ZERO"}
    rules.add("UV registers the slot", {**runs, "uv": ABSENT}, new)
    rules.add("UV refuses a slot", {**register, "uv_vm": (NONE, "ABORT")}, {"slot": "REFUSED"})
    rules.add("UV refuses a slot", {**runs, "uv": others("uv", ABSENT)}, {"slot": "REFUSED"})
    gone = {"slot": "UNREGISTER"}
    idle = {**gone, "uv_vm": others("uv_vm", NONE), "uv": others("uv", ABSENT), "uv_op": NONE}
    rules.add("UV lets the slot go", {**idle, "imported": NO}, {"slot": "UNREGISTERED", **GONE})
    late = {**idle, "imported": YES, "uv_vm": ("SECURE", "ABORT")}
    rules.add("UV lets the slot go", late, {"slot": "UNREGISTERED", **GONE})
    rules.add("UV: the slot is not there", {**gone, "uv_vm": NONE}, {"slot": "UNREGISTERED"})
    rules.add("UV: the slot is not there", {**gone, "uv": ABSENT}, {"slot": "UNREGISTERED"})
    rules.add("UV: the slot is busy", {**gone, "uv_vm": others("uv_vm", NONE)}, {"slot": "BUSY"})
