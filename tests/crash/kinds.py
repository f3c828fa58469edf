"""The kinds of violation: each promise of "what a restart means" as it can be broken."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is wrong after a side died and started anew."""

    SVM_OUTLIVES = "an SVM outlives its Hypervisor"
    GUEST_SERVED = "a guest of a VM that ended is served"
    GUEST_READS = "a guest of a VM that ended reads a new VM's page"
    GUEST_WRITES = "a guest of a VM that ended writes a new VM's page"
    OLD_TOKEN = "a token from before the restart opens a new VM"
    BYTES_LEFT = "bytes of a VM that ended are left"
    CIPHERTEXT_LEFT = "ciphertext of an SVM that ended stands in a normal VM's page"
    STILL_SECURE = "the Hypervisor takes a VM for secure whose SVM is gone"
    IMAGE_DEAD = "an image opens no more"
    BYTES_CHANGED = "a VM that lives on has other bytes"
    NOT_SERVED = "a VM that lives on is not served"
    NEW_NOT_SECURE = "a new VM does not become secure"
    NORMAL_NOT_SECURE = "a VM that lives on does not become secure"
    STUCK = "a VM can't be reset, made secure and destroyed"
    LATE = "a message from before the restart acts"
    AGAIN = "a message that came twice acts twice"
    ENDLESS = "an operation does not end"
    RAISES = "an operation ends with an error of the program"
    DISAGREE = "the two sides disagree"
    LEAK = "memory is taken and nobody has it"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that a case broke; `detail` says how it shows."""

    kind: Kind
    detail: str
