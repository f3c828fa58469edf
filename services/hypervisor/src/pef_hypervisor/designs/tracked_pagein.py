"""`tracked-pagein`: as `tracked`, but what is left over is moved by a real UV_PAGE_IN."""

from typing import Final

from pef_hypervisor.designs.rules import FOUR_STATES, Rules
from pef_hypervisor.gfn.table import LAW, GfnAction, GfnEvent, N, S, gfn_table, to, varied
from pef_protocol.designs import Design

RULES: Final = Rules(
    Design.TRACKED_PAGEIN,
    gfn_table(varied(LAW, {GfnEvent.INIT_DONE: {N: to(S, GfnAction.PAGE_IN)}})),
    FOUR_STATES,
)
