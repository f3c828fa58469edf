"""What each design is to an observer: one row of data. No service is asked, and none is imported.

A design from outside gives its row as `lab` (`pef_kit.core.designs`).

Source: designs, "state kept by the Hypervisor" and "what moves at H_SVM_INIT_DONE".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from pef_kit.core.designs import UnknownDesign, registered, require_registered
from pef_lab.failures import WrongInput
from pef_protocol.designs import PUSHING, SHOWN, Design, DesignName

PART: Final = "lab"
ALL: Final = "all"
SHARED_PAGE_POLICIES: Final = "readings"
GROUPS: Final[Mapping[str, tuple[DesignName, ...]]] = {
    ALL: SHOWN,
    SHARED_PAGE_POLICIES: tuple(design for design in Design if design not in SHOWN),
}
"""What a name stands for: the designs and the repair; the other readings of `pushed`."""


@dataclass(frozen=True, slots=True)
class ObservedDesign:
    """What an observer has to know of a design to judge what is seen of it."""

    name: DesignName
    two_states: bool = False
    """Its Hypervisor says NORMAL of every GFN that it does not hold as secure."""
    moves_unmigrated: bool = False
    """The SVM finds the contents of unmigrated pages; otherwise it finds zeroes there."""


BUILT_IN: Final = (
    ObservedDesign(Design.EAGER, two_states=True, moves_unmigrated=True),
    ObservedDesign(Design.BROKEN, two_states=True),
    ObservedDesign(Design.TRACKED),
    ObservedDesign(Design.TRACKED_PAGEIN, moves_unmigrated=True),
    *(ObservedDesign(name, two_states=True, moves_unmigrated=True) for name in Design if name in PUSHING),
)


@cache
def known_designs() -> Mapping[str, ObservedDesign]:
    """Return all designs by name; raise WrongInput where `PEF_DESIGNS` names one that has no row here."""
    try:
        return registered(BUILT_IN, PART, ObservedDesign)
    except UnknownDesign as unknown:
        raise WrongInput(str(unknown)) from None


def known_name(name: str) -> DesignName:
    """Return the name of a known design; raise UnknownDesign, which lists all, for any other name."""
    return require_registered(known_designs(), name)


def chosen_designs(names: Iterable[str], groups: Mapping[str, Iterable[DesignName]]) -> list[DesignName]:
    """Return the designs that `--design` names, once each; a name of `groups` stands for several designs.

    Raise WrongInput, which lists what there is, for a name that is none.
    """
    chosen: list[DesignName] = []
    for name in names:
        try:
            chosen.extend(groups[name] if name in groups else (known_name(name),))
        except UnknownDesign:
            known = "; ".join(filter(None, (", ".join(known_designs()), ", ".join(groups))))
            raise WrongInput(f"--design: there is no design {name!r}; there are {known}") from None
    return list(dict.fromkeys(chosen))
