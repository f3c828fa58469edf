"""What is explored: a design, a small VM, and how much may happen at once."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from pef_protocol.designs import DesignName


class Part(StrEnum):
    """The part that a GFN of slot 0 plays in UV_ESM."""

    BROUGHT = "brought"
    """It belongs to the necessary set: the Ultravisor asks for it."""
    SHARED = "shared"
    """The Ultravisor shares it for its own use: a bounce page."""
    UNMIGRATED = "unmigrated"
    """Nobody asks for it."""


class Delivery(StrEnum):
    """How the wire carries the messages of a peer whose calls have no slots."""

    ONCE = "once"
    """Each message arrives once, as an ultracall does, which is an instruction."""
    UNRELIABLE = "unreliable"
    """A message may be lost, or act twice, and its sender does not learn which."""


class Extra(StrEnum):
    """What actors may do beyond what they do in every search; `pef explore --with` switches it on."""

    RANGE = "range"
    """The guest shares, or unshares, two GFNs by one ultracall."""
    OLD_CIPHERTEXT = "old-ciphertext"
    """The host keeps what a page-out gave it, and writes it over a page once that is not the newest."""
    MEASURED_PLUG = "measured-plug"
    """UV_ESM asks for the GFNs of slot 1, too, which may be removed and added between two of its phases."""


class Troubles(NamedTuple):
    """How often the wire, or a side, may fail those who speak the fence, in all.

    `lost_answers`: nobody reads an answer. `late`: the network keeps a copy of a message, which arrives once
    more at any time. `deaths`: a side dies, and starts anew. `destroys`: the VM is destroyed, and its lpid is
    another VM's at once.
    """

    lost_answers: int = 0
    late: int = 0
    deaths: int = 0
    destroys: int = 0


NO_TROUBLES: Final = Troubles()


@dataclass(frozen=True, slots=True)
class Plan:
    """One system that is explored.

    `image` has the part of each GFN of slot 0; slot 1, of `plug` GFNs right behind it, is hot-pluggable.
    `vcpus` are the guest's; at most `calls` calls are begun before everything has ended again, in every order
    of their steps; `faults` messages in all may be refused or answered busy, and on an unreliable wire be
    doubled or lost. The invariants in `ignored` are not judged. `troubles` befall the wire, and no invariant
    is any weaker for them. `guest_waits`: it uses a slot only once that is plugged in, and not while it is
    taken out; otherwise at any time, whether anybody has told it of the slot or not. `extras` are what actors
    may do beyond the usual.
    """

    design: DesignName
    image: tuple[Part, ...]
    plug: int = 1
    vcpus: int = 1
    calls: int = 2
    faults: int = 0
    ignored: frozenset[str] = frozenset()
    troubles: Troubles = NO_TROUBLES
    delivery: Delivery = Delivery.ONCE
    guest_waits: bool = False
    extras: frozenset[Extra] = frozenset()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return the part of each GFN of both slots."""
        plugged = Part.BROUGHT if Extra.MEASURED_PLUG in self.extras else Part.UNMIGRATED
        return *self.image, *[plugged] * self.plug

    @property
    def pages(self) -> int:
        """Return the GFNs of both slots."""
        return len(self.image) + self.plug

    @property
    def plugged(self) -> range:
        """Return the GFNs of slot 1."""
        return range(len(self.image), self.pages)


IMAGES: Final[dict[int, tuple[tuple[Part, ...], ...]]] = {
    1: ((Part.BROUGHT,), (Part.SHARED,), (Part.UNMIGRATED,)),
    2: ((Part.BROUGHT, Part.UNMIGRATED), (Part.SHARED, Part.UNMIGRATED)),
    3: ((Part.BROUGHT, Part.SHARED, Part.UNMIGRATED),),
}
"""The images that are explored, by the GFNs of slot 0."""
