"""Units of the protocol, as types.

Every number that crosses a signature says what it counts. Nothing here checks a rule: a `Gpa` may lie
in no slot, a `PageOrder` may be one that nobody accepts. That is for the side that is asked.

Source: Documentation/powerpc/ultravisor.rst (arguments of the calls); decisions, "page size".
"""

from typing import Final, NewType

Lpid = NewType("Lpid", int)
"""Logical partition id: names one VM of the machine."""

Gfn = NewType("Gfn", int)
"""Guest frame number: guest physical address divided by the page size."""

Gpa = NewType("Gpa", int)
"""Guest physical address, in bytes."""

RealAddress = NewType("RealAddress", int)
"""Address in the machine's real memory, in bytes. Bit 48 set means secure memory."""

PageOrder = NewType("PageOrder", int)
"""Base-2 logarithm of a page's size in bytes."""

SlotId = NewType("SlotId", int)
"""Number of a memory slot within one VM."""

PAGE_ORDER: Final = PageOrder(16)
PAGE_SIZE: Final = 1 << PAGE_ORDER
U64_MAX: Final = (1 << 64) - 1
SLOT_IDS: Final = 512
"""A VM has at most this many slots, numbered from 0."""

SECURE_BIT: Final = 1 << 48
"""The bit of a real address that tells secure memory from normal memory."""

H_PAGE_IN_SHARED: Final = 1
"""The one flag of H_SVM_PAGE_IN. Its absence means the page is to be secure (H_PAGE_IN_NONSHARED)."""
H_PAGE_IN_FAULT: Final = 2
"""Assigned by this project, for designs in which a guest's fault is reflected to the Hypervisor.

On the machine that is an interrupt, with the address in a register. Here H_SVM_PAGE_IN has this flag."""
U_PAGE_IN_SECURE: Final = 1
"""Assigned by this project, for designs with a bit of intent: UV_PAGE_IN of a page that is to be secure."""


def gfn_of(gpa: int) -> Gfn:
    """Return the guest frame that holds guest physical address `gpa` (bytes)."""
    return Gfn(gpa >> PAGE_ORDER)


def gpa_of(gfn: int) -> Gpa:
    """Return the guest physical address (bytes) at which frame `gfn` begins."""
    return Gpa(gfn << PAGE_ORDER)


def pages_in(size: int) -> int:
    """Return how many pages a range of `size` bytes needs."""
    return -(-size >> PAGE_ORDER)
