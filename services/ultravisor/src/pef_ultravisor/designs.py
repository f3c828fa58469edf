"""What each design of the Hypervisor means on this side: one frozen row of settings per design, and no code.

A Hypervisor of `pushed` sends all that it does not hold as secure, and relies on the Ultravisor to refuse the
shared ones. The same call brings an invalidated shared page back. Which of the two is meant the proposal does
not say; each shared-page policy here is one way to tell.

Source: "The three designs of the discussion", leads; decisions, "when a shared page is refused".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pef_protocol.designs import Design
from pef_ultravisor.gfn.columns import HCALL_PENDING
from pef_ultravisor.gfn.table import Event


@dataclass(frozen=True, slots=True)
class DesignSettings:
    """One design, as the Ultravisor deals with it.

    `page_in_at_done` and `page_in` are the shared-page policy: what UV_PAGE_IN means while H_SVM_INIT_DONE is
    outstanding, and at any other time. GFNs that bear a mark of `exempt` are never refused for being shared.
    """

    page_in_at_done: Event = Event.PAGE_IN_AT_DONE
    page_in: Event = Event.PAGE_IN
    exempt: int = 0
    asks_for_every_gfn: bool = False
    """UV_ESM asks for every GFN, not only for those of the image."""
    asks_for_plugged: bool = False
    """UV_REGISTER_MEM_SLOT asks for every GFN of a slot that is plugged into a secure VM."""
    needs_spare_page: bool = False
    """The Hypervisor sends what it will be refused: until then that takes a device page, too."""


_PUSHED: Final = DesignSettings(Event.PAGE_IN_PUSHED, needs_spare_page=True)

DESIGNS: Final[Mapping[Design, DesignSettings]] = MappingProxyType(
    {
        Design.EAGER: DesignSettings(asks_for_every_gfn=True, asks_for_plugged=True),
        Design.BROKEN: DesignSettings(asks_for_plugged=True),
        Design.TRACKED: DesignSettings(),
        Design.TRACKED_PAGEIN: DesignSettings(),
        Design.PUSHED: _PUSHED,
        Design.PUSHED_VALID: DesignSettings(Event.PAGE_IN_PUSHED_VALID, needs_spare_page=True),
        Design.PUSHED_INVALIDATED: DesignSettings(Event.PAGE_IN_PUSHED_INVALIDATED, needs_spare_page=True),
        Design.PUSHED_ALWAYS: DesignSettings(
            Event.PAGE_IN_PUSHED, Event.PAGE_IN_BARRED, needs_spare_page=True
        ),
        Design.PUSHED_UNASKED: DesignSettings(
            Event.PAGE_IN_PUSHED, Event.PAGE_IN_BARRED, exempt=HCALL_PENDING, needs_spare_page=True
        ),
        Design.PUSHED_FIXED: _PUSHED,
    }
)
