"""`tracked`: four states; what is left over becomes secure without a UV_PAGE_IN (Linux 5.9)."""

from typing import Final

from pef_hypervisor.designs.rules import FOUR_STATES, Rules
from pef_hypervisor.gfn.table import LAW, gfn_table
from pef_protocol.designs import Design

RULES: Final = Rules(Design.TRACKED, gfn_table(LAW), FOUR_STATES)
