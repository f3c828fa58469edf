"""Names of the states of a VM and of a GFN, on either side. Names only: no transition stands here.

Source: specification of the Ultravisor, section 2.1; of the Hypervisor, section 1.
"""

from enum import IntEnum


class UvVmState(IntEnum):
    """A VM as the Ultravisor sees it. A VM without an SVM object has none of these."""

    ACTIVE = 0
    SECURE = 1
    ABORT = 2


class UvGfnState(IntEnum):
    """A GFN of an SVM as the Ultravisor sees it. SECURE is 0: a slot costs nothing until it changes."""

    SECURE = 0
    PAGEDOUT = 1
    SHARED = 2
    SHARED_INV = 3
    SHARED_IMPLICIT = 4
    SHARED_IMPLICIT_INV = 5
    PSEUDO_SHARED = 6
    PSEUDO_SHARED_INV = 7
    HV_SHARING = 8
    HV_SHARED = 9
    HV_SHARED_INV = 10
    HV_UNSHARING = 11
    HV_UNSHARING_INV = 12
    HV_UNSHARED = 13


class HvVmState(IntEnum):
    """A VM as the Hypervisor sees it."""

    NORMAL = 0
    TRANSIENT = 1
    SECURE = 2


class HvGfnState(IntEnum):
    """A GFN as the Hypervisor sees it. The letters N, S, P, H are the specification's own."""

    NORMAL = 0
    SECURE = 1
    PAGED_OUT = 2
    SHARED = 3
