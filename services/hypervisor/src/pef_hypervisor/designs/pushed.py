"""`pushed`: two states; at H_SVM_INIT_DONE all that is not held as secure is sent by UV_PAGE_IN.

The Ultravisor, which knows the shared ones, refuses those with U_P2; they stay as they are.
"""

from typing import Final

from pef_hypervisor.designs.rules import TWO_STATES, Rules
from pef_hypervisor.lifecycle import LAW, GfnDeed, GfnEvent, N, S, folded, gfn_table, to, varied
from pef_protocol.codes import UCode
from pef_protocol.designs import Design

RULES: Final = Rules(
    Design.PUSHED,
    gfn_table(folded(varied(LAW, {GfnEvent.INIT_DONE: {N: to(S, GfnDeed.BRING)}}))),
    TWO_STATES,
    leaves=frozenset({UCode.U_P2}),
)
