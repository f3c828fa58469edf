"""Names that never come again: of a process, of an epoch, of one life of a VM.

A count alone begins anew after a restart. So each name holds the instance id of the process that minted it:
128 random bits, drawn at its start.
"""

import re
from dataclasses import dataclass
from typing import Final, NewType, Self

InstanceId = NewType("InstanceId", str)
"""128 random bits as 32 hexadecimal digits: one run of one process."""

_CALL_FORM: Final = re.compile("([0-9a-zA-Z_-]{1,32})\\.([0-9]{1,2})\\.([0-9]{1,4})\\.([1-9][0-9]{0,18})")
_FORM: Final = re.compile("([0-9a-f]{32})\\.([1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True, order=True)
class _Minted:
    """A name: the `count`th of its kind that `instance` minted; counts begin at 1."""

    instance: InstanceId
    count: int

    def __str__(self) -> str:
        return f"{self.instance}.{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the name that `text` writes, or None."""
        found = _FORM.fullmatch(text)
        return cls(InstanceId(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, slots=True, order=True)
class Epoch(_Minted):
    """One Hypervisor's time at one Ultravisor, minted by the Ultravisor."""


@dataclass(frozen=True, slots=True, order=True)
class Incarnation(_Minted):
    """One life of a VM at one endpoint, minted by that endpoint."""


@dataclass(frozen=True, slots=True)
class CallId:
    """One call between the sides, within an epoch: the `number`th of a slot, from 1.

    A `session` is one speaker; a slot of a nesting `depth` carries one call at a time. So a repeat has the id
    of the call that it repeats, and one that is late has a number that is over.
    """

    session: str
    depth: int
    slot: int
    number: int

    def __str__(self) -> str:
        return f"{self.session}.{self.depth}.{self.slot}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the id that `text` writes, or None."""
        found = _CALL_FORM.fullmatch(text)
        return cls(found[1], int(found[2]), int(found[3]), int(found[4])) if found else None


def instance_of(random_bytes: bytes) -> InstanceId:
    """Return the instance id that 16 random bytes make."""
    return InstanceId(random_bytes[:16].hex())
