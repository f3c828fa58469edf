"""Types of problem bodies (RFC 9457): by them a refusal of ours is told from that of a proxy.

A message that is refused so was not done, and never will be, but for `NOT_NOW`, which may change by waiting.
"""

from enum import StrEnum


class ProblemType(StrEnum):
    """Why a message is not of our protocol, or not of this moment."""

    OTHER = "urn:pef:problem:message"
    """Its form, its token, its route or its size."""
    NO_EPOCH = "urn:pef:problem:no-epoch"
    """A call between the sides that names no epoch."""
    OTHER_EPOCH = "urn:pef:problem:other-epoch"
    """The epoch that it names is not the current one."""
    OTHER_INCARNATION = "urn:pef:problem:other-incarnation"
    """The SVM that it means is not the one that has the lpid."""
    LATE = "urn:pef:problem:late"
    """Its slot has carried a later call."""
    SLOT = "urn:pef:problem:slot"
    """Its number leaves a gap, or was used for another message, or its slot does not exist."""
    NOT_NOW = "urn:pef:problem:not-now"
    """Nothing was done; the same message may be sent again."""
    BROKEN = "urn:pef:problem:broken"
    """A fault of the service that answers: nobody knows what was done."""
