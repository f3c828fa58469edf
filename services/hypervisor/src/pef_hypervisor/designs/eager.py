"""`eager` and `broken`: the Hypervisor trusts that every GFN was asked for, and does nothing with the rest.

With an Ultravisor that asks for every GFN that is `eager`; with one that asks for the necessary set alone it
is `broken`. This side is the same: two states, and a slot being plugged that no hypercall can reach yet.
"""

from typing import Final

from pef_hypervisor.designs.rules import TWO_STATES, Rules
from pef_hypervisor.gfn.table import LAW, STAY, GfnEvent, folded, gfn_table, varied
from pef_protocol.designs import Design

_TABLE: Final = gfn_table(folded(varied(LAW, {GfnEvent.INIT_DONE: STAY, GfnEvent.PLUG: STAY})))

EAGER: Final = Rules(Design.EAGER, _TABLE, TWO_STATES, plugged_visible=False)
BROKEN: Final = Rules(Design.BROKEN, _TABLE, TWO_STATES, plugged_visible=False)
