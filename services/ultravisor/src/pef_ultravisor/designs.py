"""When the Ultravisor refuses UV_PAGE_IN of a shared page, design by design.

A Hypervisor of `pushed` sends all that it does not hold as secure, and relies on the Ultravisor to refuse the
shared ones. The same call brings an invalidated shared page back. Which of the two is meant the proposal does
not say; each row here is one way to tell.

Source: "The three designs of the discussion", leads; decisions, "when a shared page is refused".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pef_protocol.designs import Design
from pef_ultravisor.gfn.columns import WAITING
from pef_ultravisor.gfn.table import Event


@dataclass(frozen=True, slots=True)
class Reading:
    """What UV_PAGE_IN means: while H_SVM_INIT_DONE is outstanding, and otherwise.

    GFNs that bear a mark of `spared` are never refused for being shared.
    """

    at_done: Event = Event.PAGE_IN_AT_DONE
    otherwise: Event = Event.PAGE_IN
    spared: int = 0


PUSHED: Final = Reading(Event.PAGE_IN_PUSHED)
READINGS: Final[Mapping[Design, Reading]] = MappingProxyType(
    {
        **dict.fromkeys(Design, Reading()),
        Design.PUSHED: PUSHED,
        Design.PUSHED_VALID: Reading(Event.PAGE_IN_PUSHED_VALID),
        Design.PUSHED_INVALIDATED: Reading(Event.PAGE_IN_PUSHED_INVALIDATED),
        Design.PUSHED_ALWAYS: Reading(Event.PAGE_IN_PUSHED, Event.PAGE_IN_BARRED),
        Design.PUSHED_UNASKED: Reading(Event.PAGE_IN_PUSHED, Event.PAGE_IN_BARRED, spared=WAITING),
        Design.PUSHED_FIXED: PUSHED,
    }
)
