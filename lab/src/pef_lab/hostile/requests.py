"""What a hostile Hypervisor sends: ultracalls of its own, and those that are not its to make."""

from typing import Final

from pef_protocol.calls import CALLS
from pef_protocol.quantities import PAGE_ORDER, PAGE_SIZE, Gfn, Gpa, Lpid, PageOrder, SlotId, gpa_of
from pef_protocol.runs import PageRuns, PlacedRuns
from pef_protocol.ultracalls import (
    Esm,
    EsmbGetFile,
    PageIn,
    PageInval,
    PageOut,
    RegisterMemSlot,
    SharePage,
    SvmTerminate,
    UnregisterMemSlot,
    UnshareAllPages,
    UnsharePage,
    WritePate,
)

NAMES: Final = {call.request: call.name for call in CALLS.values()}
"""The name of the call that a request is for."""
NOBODY: Final = Lpid(4000)
"""An lpid that no VM has."""
ENTRIES: Final = ((0, 0), (1 << 24, 1 << 24), ((1 << 63) | (1 << 24), (1 << 63) | (1 << 24)))
"""Partition table entries that a Hypervisor may like an SVM to have."""


def page_in(lpid: int, gfn: int, ra: int, count: int = 1) -> PageIn:
    """Offer normal pages for GFNs."""
    return PageIn(Lpid(lpid), PlacedRuns.of((ra, gpa_of(gfn), count)), 0, PAGE_ORDER)


def page_out(lpid: int, gfn: int, ra: int, count: int = 1) -> PageOut:
    """Ask for GFNs, into normal pages."""
    return PageOut(Lpid(lpid), PlacedRuns.of((ra, gpa_of(gfn), count)), 0, PAGE_ORDER)


def inval(lpid: int, gfn: int, order: int = PAGE_ORDER) -> PageInval:
    """Take the normal page behind a GFN away."""
    return PageInval(Lpid(lpid), PageRuns.of((gpa_of(gfn), 1)), PageOrder(order))


def hypervisor_only(lpid: int, gfn: int, ra: int) -> dict[str, object]:
    """Return a request of each call that is the Hypervisor's, each of which would have an effect."""
    return {
        "UV_WRITE_PATE": WritePate(Lpid(lpid), 1 << 24, 1 << 24),
        "UV_REGISTER_MEM_SLOT": RegisterMemSlot(Lpid(lpid), Gpa(1 << 30), PAGE_SIZE, 0, SlotId(7)),
        "UV_UNREGISTER_MEM_SLOT": UnregisterMemSlot(Lpid(lpid), SlotId(0)),
        "UV_PAGE_IN": page_in(lpid, gfn, ra),
        "UV_PAGE_OUT": page_out(lpid, gfn, ra),
        "UV_PAGE_INVAL": inval(lpid, gfn),
        "UV_SVM_TERMINATE": SvmTerminate(Lpid(lpid)),
    }


def guest_only(gfn: int) -> dict[str, object]:
    """Return a request of each call that is a guest's."""
    return {
        "UV_ESM": Esm(Gpa(4 << 20), Gpa(1 << 20)),
        "UV_SHARE_PAGE": SharePage(Gfn(gfn), 1),
        "UV_UNSHARE_PAGE": UnsharePage(Gfn(gfn), 1),
        "UV_UNSHARE_ALL_PAGES": UnshareAllPages(),
        "UV_ESMB_GET_FILE": EsmbGetFile("disk-key", 0),
    }
