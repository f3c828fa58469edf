"""Requests of the ultracalls: one frozen record a call, arguments in the document's words and order.

The lpid of a guest's own call is not an argument: it is who calls. Paging calls take runs; an unsigned
64-bit number stands for itself, whatever it is. Replies are `pef_protocol.calls.Reply`.

Source: Documentation/powerpc/ultravisor.rst, "Ultracalls"; firmware table of calls for UV_ESMB_GET_FILE.
"""

from dataclasses import dataclass

from pef_protocol.quantities import Gfn, Gpa, Lpid, PageOrder, SlotId
from pef_protocol.runs import PageRuns, PlacedRuns


@dataclass(frozen=True, slots=True)
class WritePate:
    """UV_WRITE_PATE: set both double words of a partition's table entry."""

    lpid: Lpid
    dw0: int
    dw1: int


@dataclass(frozen=True, slots=True)
class Esm:
    """UV_ESM: enter secure mode. The ESM blob's place stands in the device tree."""

    kernel_base: Gpa
    fdt: Gpa


@dataclass(frozen=True, slots=True)
class RegisterMemSlot:
    """UV_REGISTER_MEM_SLOT: give guest physical memory from `start_gpa`, `size` bytes, to an SVM."""

    lpid: Lpid
    start_gpa: Gpa
    size: int
    flags: int
    slotid: SlotId


@dataclass(frozen=True, slots=True)
class UnregisterMemSlot:
    """UV_UNREGISTER_MEM_SLOT: take a slot away from an SVM."""

    lpid: Lpid
    slotid: SlotId


@dataclass(frozen=True, slots=True)
class PageIn:
    """UV_PAGE_IN: offer the normal pages at `ra` for the guest pages at `gpa`."""

    lpid: Lpid
    runs: PlacedRuns
    flags: int
    order: PageOrder


@dataclass(frozen=True, slots=True)
class PageOut:
    """UV_PAGE_OUT: take the guest pages at `gpa`, encrypted, into the normal pages at `ra`."""

    lpid: Lpid
    runs: PlacedRuns
    flags: int
    order: PageOrder


@dataclass(frozen=True, slots=True)
class PageInval:
    """UV_PAGE_INVAL: the normal pages behind these shared guest pages are going away."""

    lpid: Lpid
    runs: PageRuns
    order: PageOrder


@dataclass(frozen=True, slots=True)
class SvmTerminate:
    """UV_SVM_TERMINATE: end an SVM and wipe all that it held. Output: the lpid's `incarnation` from now."""

    lpid: Lpid


@dataclass(frozen=True, slots=True)
class SharePage:
    """UV_SHARE_PAGE: share `num` pages from frame `gfn` with the Hypervisor."""

    gfn: Gfn
    num: int


@dataclass(frozen=True, slots=True)
class UnsharePage:
    """UV_UNSHARE_PAGE: take `num` pages from frame `gfn` back."""

    gfn: Gfn
    num: int


@dataclass(frozen=True, slots=True)
class UnshareAllPages:
    """UV_UNSHARE_ALL_PAGES: take back every page that the SVM shared itself."""


@dataclass(frozen=True, slots=True)
class EsmbGetFile:
    """UV_ESMB_GET_FILE: read up to 64 bytes of a file attached to the SVM's ESM blob."""

    name: str
    offset: int
