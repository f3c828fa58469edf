"""Return codes of ultracalls and hypercalls, with their numbers.

Numbers are those of the Linux headers (asm/hvcall.h, asm/ultravisor-api.h). Four ultracall codes have no
number there, or one that means something else to the Hypervisor; the project assigns them, in one block,
away from every number that either header uses.
"""

from enum import IntEnum
from typing import Final


class Code(IntEnum):
    """A return code; its name is what the document calls it."""

    @property
    def succeeded(self) -> bool:
        """Tell whether the call did what was asked."""
        return self.value == 0


class UCode(Code):
    """Return codes of ultracalls."""

    U_SUCCESS = 0
    U_BUSY = 1
    U_FUNCTION = -2
    U_PARAMETER = -4
    U_PERMISSION = -11
    U_P2 = -55
    U_P3 = -56
    U_P4 = -57
    U_P5 = -58
    U_STATE = -75
    # Assigned by this project: named in the document, numberless in the headers.
    U_INVALID = -5001
    U_RETRY = -5002
    U_NO_KEY = -5003
    U_BAD_MODE = -5004


class HCode(Code):
    """Return codes of hypercalls."""

    H_SUCCESS = 0
    H_BUSY = 1
    H_FUNCTION = -2
    H_PARAMETER = -4
    H_AUTHORITY = -10
    H_P2 = -55
    H_P3 = -56
    H_UNSUPPORTED = -67
    H_STATE = -75


ASSIGNED: Final = frozenset({UCode.U_INVALID, UCode.U_RETRY, UCode.U_NO_KEY, UCode.U_BAD_MODE})
"""Codes whose numbers are this project's own."""
