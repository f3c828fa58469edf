"""Names of designs: those of the 2020 discussion, and any other. What each means is each side's own business.

The counter-proposal `pushed` leaves open when exactly the Ultravisor refuses a shared page; each answer is a
design of its own, and so is the repair.

Source: "The three designs of the discussion", the table of designs.
"""

from enum import ReprEnum
from typing import Final


class DesignName(str):
    """The name of a design: a member of `Design`, or the name of a design from outside.

    Both compare and hash as the string that they are.
    """

    __slots__ = ()


class Design(DesignName, ReprEnum):
    """How the two sides treat the GFNs that the Ultravisor does not ask for: the built-in designs."""

    EAGER = "eager"
    BROKEN = "broken"
    TRACKED = "tracked"
    TRACKED_PAGEIN = "tracked-pagein"
    PUSHED = "pushed"
    """Shared pages are refused while H_SVM_INIT_DONE is outstanding, with a mapping or without."""
    PUSHED_VALID = "pushed-valid"
    """The same, for those that have a mapping."""
    PUSHED_INVALIDATED = "pushed-invalidated"
    """The same, for those that have none."""
    PUSHED_ALWAYS = "pushed-always"
    """Shared pages are refused at any time."""
    PUSHED_UNASKED = "pushed-unasked"
    """Shared pages are refused at any time, but where the Ultravisor itself has asked for them."""
    PUSHED_FIXED = "pushed-fixed"
    """`pushed`, with a Hypervisor that asks what it can't tell before it gives a VM its memory back."""


DISCUSSED: Final = (Design.EAGER, Design.BROKEN, Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED)
"""The designs of the discussion."""
SHOWN: Final = (*DISCUSSED, Design.PUSHED_FIXED)
"""Those that are run where nobody says which."""
PUSHING: Final = frozenset(design for design in Design if design.startswith("pushed"))
"""`pushed`, in every reading, and its repair."""
