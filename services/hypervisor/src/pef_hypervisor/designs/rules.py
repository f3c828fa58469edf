"""What a design is to the Hypervisor: a few cells of the GFN table and two habits."""

from dataclasses import dataclass

from pef_hypervisor.gfn.table import GfnTable
from pef_protocol.codes import UCode
from pef_protocol.designs import Design
from pef_protocol.states import HvGfnState


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one design.

    `states` are those that it keeps of a GFN. `plugged_visible` tells whether H_SVM_PAGE_IN may reach a slot
    while its UV_REGISTER_MEM_SLOT is outstanding, `plugged_secure` whether its GFNs are treated before that
    call is made rather than after: two states can't tell a page that was shared meanwhile from one nobody
    touched. A left-over GFN for which the Ultravisor refuses UV_PAGE_IN
    with a code of `leaves` stays as it is, and H_SVM_INIT_DONE goes on.
    """

    design: Design
    table: GfnTable
    states: frozenset[HvGfnState]
    plugged_visible: bool = True
    plugged_secure: bool = False
    leaves: frozenset[UCode] = frozenset()


FOUR_STATES = frozenset(HvGfnState)
TWO_STATES = frozenset({HvGfnState.NORMAL, HvGfnState.SECURE})
