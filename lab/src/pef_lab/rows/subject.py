"""What is tested, and how it is known what a call changed there."""

from enum import StrEnum


class Subject(StrEnum):
    """What is tested: both sides as they talk to each other, or one with us in the other's place."""

    PAIR = "pair"
    ULTRAVISOR = "ultravisor"
    HYPERVISOR = "hypervisor"
    BARE_HYPERVISOR = "hypervisor without secure memory"


class Evidence(StrEnum):
    """How it is known that a refused call changed nothing."""

    DIGEST = "digest"
    INFERRED = "inferred"


class NoScene(Exception):
    """What a row needs before it can be played could not be had from the subject: the row is inconclusive."""
