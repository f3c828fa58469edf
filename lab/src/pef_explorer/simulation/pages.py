"""What the oracle knows of each page and each VM, and of an action under way."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from pef_explorer.simulation.events import SIZE, Start

ZERO: Final = 0


class Whose(Enum):
    """Whose a page of a secure VM is."""

    PRIVATE = "the guest's own"
    SHARED = "shared by the guest"
    BOUNCE = "the Ultravisor's bounce page"
    UNKNOWN = "not known"


@dataclass(slots=True)
class Page:
    """One GFN: `values` are the tokens that a load may find now, `changers` the open actions that change it.

    `tainted`: the host wrote over what may have been ciphertext, or took the page away in vain: whoever asks
    for it may be refused.
    """

    values: set[int] = field(default_factory=lambda: {ZERO})
    whose: Whose = Whose.UNKNOWN
    epoch: int = 0
    changers: int = 0
    tainted: bool = False
    pending: set[int] = field(default_factory=set)
    loads: list[set[int]] = field(default_factory=list)

    def require_role(self, *values: int) -> None:
        """Let a load find these, too."""
        self.values.update(values)
        for each in self.loads:
            each.update(values)

    def settle(self, values: set[int]) -> None:
        """Let a load that begins from now on find one of these, and nothing else."""
        self.require_role(*values)
        self.values = set(values)


@dataclass(slots=True)
class Stamp:
    """A page when an action began on it."""

    page: Page
    epoch: int
    vm_epoch: int
    alone: bool
    values: set[int]
    whose: Whose


@dataclass(slots=True)
class Vm:
    """One VM: `life` is "normal", "secure", or "" while nobody can tell."""

    pages: list[Page] = field(default_factory=lambda: [Page() for _ in range(SIZE.pages)])
    life: str = "normal"
    epoch: int = 0
    changers: int = 0

    def sees(self, life: str) -> None:
        """Let `life` be how both sides list it, once nobody changes it as a whole."""
        if not self.changers:
            self.life = life if life != "neither" else ""

    def is_new(self) -> None:
        """Become another VM: its pages are zero, and what was begun before changes nothing of it."""
        self.epoch += 1
        self.life = "" if self.changers else "normal"
        for page in self.pages:
            page.epoch += 1
            page.settle({ZERO})
            page.whose, page.tainted = Whose.UNKNOWN, False
            page.pending.clear()

    def stamp(self, page: Page) -> Stamp:
        """Note how a page is before an action."""
        alone = not page.changers and not self.changers
        return Stamp(page, page.epoch, self.epoch, alone, set(page.values), page.whose)

    def undisturbed(self, stamp: Stamp) -> bool:
        """Tell whether nobody else changed the page, or the VM, from the stamp on."""
        same = stamp.page.epoch == stamp.epoch and self.epoch == stamp.vm_epoch
        return stamp.alone and same


@dataclass(slots=True)
class Watch:
    """An action under way: `stamps` are of its pages, `found` is what it may see."""

    start: Start
    token: int
    stamps: list[Stamp]
    life: str
    whole: bool = False
    found: set[int] | None = None
