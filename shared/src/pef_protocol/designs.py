"""Names of the designs of the 2020 discussion. What each means is each side's own business.

Source: "The three designs of the discussion", the table of designs.
"""

from enum import StrEnum


class Design(StrEnum):
    """How the two sides treat the GFNs that the Ultravisor does not ask for."""

    EAGER = "eager"
    BROKEN = "broken"
    TRACKED = "tracked"
    TRACKED_PAGEIN = "tracked-pagein"
    PUSHED = "pushed"
