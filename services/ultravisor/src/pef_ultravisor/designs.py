"""What each design is on this side: one frozen row of settings per design, and no code.

A Hypervisor of `pushed` sends all that it does not hold as secure, and relies on the Ultravisor to refuse the
shared ones. The same call brings an invalidated shared page back. Which of the two is meant the proposal does
not say; each shared-page policy here is one way to tell.

A design from outside gives its row as `ultravisor` (`pef_kit.core.designs`).

Source: "The three designs of the discussion", leads; decisions, "when a shared page is refused".
"""

from dataclasses import dataclass, replace
from typing import Final

from pef_kit.core.designs import registered
from pef_protocol.codes import UCode
from pef_protocol.designs import Design, DesignName
from pef_ultravisor.gfn.columns import HCALL_PENDING
from pef_ultravisor.gfn.table import Event

PART: Final = "ultravisor"


@dataclass(frozen=True, slots=True)
class DesignSettings:
    """One design, as the Ultravisor deals with it.

    `page_in_at_done` and `page_in` are the shared-page policy: what UV_PAGE_IN means while H_SVM_INIT_DONE is
    outstanding, and at any other time. GFNs that bear a mark of `exempt` are never refused for being shared.
    """

    name: DesignName
    page_in_at_done: Event = Event.PAGE_IN_AT_DONE
    page_in: Event = Event.PAGE_IN
    exempt: int = 0
    asks_for_every_gfn: bool = False
    """UV_ESM asks for every GFN, not only for those of the image."""
    asks_for_plugged: bool = False
    """UV_REGISTER_MEM_SLOT asks for every GFN of a slot that is plugged into a secure VM."""
    needs_spare_page: bool = False
    """The Hypervisor sends what it will be refused: until then that takes a device page, too."""
    reflects_faults: bool = False
    """An access to an invalidated shared page is reflected to the Hypervisor, and tried again afterwards.

    That is what the firmware does, and what the kernel's fault handler is for. The Ultravisor does not wait
    then, and marks nothing. Default: it asks for the page by H_SVM_PAGE_IN, as it does for one that is out.
    UV_SHARE_PAGE of such a page asks in either case."""
    marks_hypercalls: bool = True
    """A GFN for which a hypercall of the Ultravisor is outstanding is marked HCALL_PENDING.

    Default: it is; this project decided so. The firmware has no such mark."""
    copies_until_secure: bool = False
    """UV_PAGE_IN of a paged-out page copies what comes as it is, until the VM is secure: the firmware's D12.

    Default: it decrypts and verifies at any time, for the document makes no exception."""
    shared_code: UCode = UCode.U_P2
    """The code with which UV_PAGE_IN refuses a page because it is shared.

    Default: U_P2, which is the answer to a resident page, too; the proposal names no code. U_PARAMETER would
    be a code of its own, for UV_PAGE_IN refuses no single page with it."""
    reads_intent: bool = False
    """UV_PAGE_IN may say by U_PAGE_IN_SECURE that the page is to be secure.

    A shared page is refused where it says so, at any time, and nowhere else: `page_in_at_done` and `page_in`
    are not used. Default: there is no such flag, as in document, kernel and firmware; thought of here."""


_PUSHED: Final = DesignSettings(Design.PUSHED, Event.PAGE_IN_PUSHED, needs_spare_page=True)

BUILT_IN: Final[tuple[DesignSettings, ...]] = (
    DesignSettings(Design.EAGER, asks_for_every_gfn=True, asks_for_plugged=True),
    DesignSettings(Design.BROKEN, asks_for_plugged=True),
    DesignSettings(Design.TRACKED),
    DesignSettings(Design.TRACKED_PAGEIN),
    _PUSHED,
    DesignSettings(Design.PUSHED_VALID, Event.PAGE_IN_PUSHED_VALID, needs_spare_page=True),
    DesignSettings(Design.PUSHED_INVALIDATED, Event.PAGE_IN_PUSHED_INVALIDATED, needs_spare_page=True),
    DesignSettings(Design.PUSHED_ALWAYS, Event.PAGE_IN_PUSHED, Event.PAGE_IN_BARRED, needs_spare_page=True),
    DesignSettings(
        Design.PUSHED_UNASKED,
        Event.PAGE_IN_PUSHED,
        Event.PAGE_IN_BARRED,
        exempt=HCALL_PENDING,
        needs_spare_page=True,
    ),
    replace(_PUSHED, name=Design.PUSHED_FIXED),
)

DESIGNS: Final = registered(BUILT_IN, PART, DesignSettings)
"""All designs by name. Order: last, for a design from outside imports this module."""
