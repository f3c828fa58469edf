"""What the end of an SVM, of a slot or of an operation leaves of the GFN."""

from collections.abc import Mapping
from typing import Final

from induction.design import Tables
from induction.hypervisor_steps import OPEN
from induction.rule import Allowed, Change
from induction.variables import ABSENT, EXCLUSIVE, NO, NONE, others
from pef_hypervisor.gfn.table import VmEvent
from pef_protocol.states import HvVmState

NO_SVM: Final[Mapping[str, Change]] = {
    "uv_vm": NONE,
    "uv": ABSENT,
    "imported": NO,
    "mapped": NO,
    "frame": "ZERO",
    "uv_op": NONE,
    "hcall_at": NONE,
    "esm": NONE,
    "secret": NO,
}
"""What the end of an SVM leaves of the GFN at the Ultravisor; its operations are over with it."""
GONE: Final[Mapping[str, Change]] = {"uv": ABSENT, "imported": NO, "mapped": NO, "frame": "ZERO"}
"""What UV_UNREGISTER_MEM_SLOT leaves."""
FREE_TO_HOLD: Final[Mapping[str, Allowed]] = {**OPEN, "plugging": NONE, "esm": others("esm", *EXCLUSIVE)}
"""No operation has the whole VM at the Hypervisor."""
DONE_WITH: Final[Mapping[str, Change]] = {"ucall": NONE, "ucall_at": NONE}


def ended(tables: Tables, state: HvVmState) -> str:
    """Return the state of a VM whose SVM has ended."""
    return tables.vm[VmEvent.UV_SVM_TERMINATE][state].next_state.name
