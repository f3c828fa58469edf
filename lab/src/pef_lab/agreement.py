"""Which states of a GFN agree: what the Ultravisor may say of it, by what the Hypervisor says.

| Hypervisor, four states | Hypervisor, two states | Ultravisor |
|---|---|---|
| SECURE | SECURE | SECURE |
| PAGED_OUT | NORMAL | PAGEDOUT |
| SHARED | NORMAL | one of the six shared states |
| NORMAL | NORMAL | no SVM object |

A design that keeps two states says NORMAL of every GFN that it does not hold as secure; the words of such a
table are read so. The table is taken from no service: every invariant that compares both sides uses it.

Source: attacks, invariant 6; designs, "state kept by the Hypervisor".
"""

from collections.abc import Mapping
from typing import Final

from pef_lab.known_designs import known_designs
from pef_protocol.designs import DesignName
from pef_protocol.states import HvGfnState, UvGfnState

SHARED_STATES: Final = frozenset(
    {
        UvGfnState.SHARED,
        UvGfnState.SHARED_INV,
        UvGfnState.SHARED_IMPLICIT,
        UvGfnState.SHARED_IMPLICIT_INV,
        UvGfnState.PSEUDO_SHARED,
        UvGfnState.PSEUDO_SHARED_INV,
    }
)
TRANSIENT_STATES: Final = frozenset(state for state in UvGfnState if state.name.startswith("HV_"))
"""No GFN is in one of these while no call is open."""

_OF_FOUR: Final[Mapping[HvGfnState, frozenset[UvGfnState]]] = {
    HvGfnState.SECURE: frozenset({UvGfnState.SECURE}),
    HvGfnState.PAGED_OUT: frozenset({UvGfnState.PAGEDOUT}),
    HvGfnState.SHARED: SHARED_STATES,
    HvGfnState.NORMAL: frozenset(),
}
_OF_TWO: Final[Mapping[HvGfnState, frozenset[UvGfnState]]] = {
    HvGfnState.SECURE: frozenset({UvGfnState.SECURE}),
    HvGfnState.PAGED_OUT: frozenset(),
    HvGfnState.SHARED: frozenset(),
    HvGfnState.NORMAL: SHARED_STATES | {UvGfnState.PAGEDOUT},
}


def agreeing_states(design: DesignName) -> Mapping[HvGfnState, frozenset[UvGfnState]]:
    """Return the states of the Ultravisor that agree with each state of the Hypervisor under a design.

    Without an SVM object only NORMAL agrees; that is not in the mapping.
    """
    return _OF_TWO if known_designs()[design].two_states else _OF_FOUR


def agreeing_names(design: DesignName) -> frozenset[tuple[str, str]]:
    """Return the pairs of states (Hypervisor's, Ultravisor's) that agree under a design, as words."""
    return _NAMES[known_designs()[design].two_states]


_NAMES: Final = {
    two_states: frozenset((own.name, other.name) for own, others in table.items() for other in others)
    for two_states, table in ((False, _OF_FOUR), (True, _OF_TWO))
}
