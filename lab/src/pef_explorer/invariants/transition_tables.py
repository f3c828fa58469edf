"""What the specification says of states, as the invariants need it: written here, taken from no service."""

from typing import Final

from pef_explorer.world.observation import ABSENT
from pef_protocol.states import HvGfnState, HvVmState
from pef_protocol.states import UvGfnState as S

EXPLICIT: Final = frozenset({S.SHARED, S.SHARED_INV})
MAPPING: Final = frozenset({S.SHARED, S.SHARED_IMPLICIT, S.PSEUDO_SHARED, S.HV_SHARED, S.HV_UNSHARING})
STATES: Final[tuple[S | None, ...]] = (*S, *[None] * (ABSENT + 1 - len(S)))
"""The state of each number that a column can hold; None for ABSENT."""
HV_WORDS: Final = (*HvGfnState.__members__, *["absent"] * (ABSENT + 1 - len(HvGfnState)))
UV_WORDS: Final = (*S.__members__, *["nothing"] * (ABSENT + 1 - len(S)))
"""What each side says of a GFN of which its column holds that number."""

VM_STEPS: Final = frozenset(
    {
        (HvVmState.NORMAL, HvVmState.TRANSIENT),
        (HvVmState.TRANSIENT, HvVmState.SECURE),
        (HvVmState.TRANSIENT, HvVmState.NORMAL),
        (HvVmState.SECURE, HvVmState.NORMAL),
        (HvVmState.SECURE, HvVmState.TRANSIENT),
    }
)
"""What may become of a VM. SECURE to TRANSIENT is a reset on its way: only reset or abort can follow."""
