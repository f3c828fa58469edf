"""A mutant in this process, for a session: in the machines while they run, and out of them in between.

Source: entry points of the group `pef.faults`, by which `pef step` finds it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pef_lab.failures import WrongInput
from pef_mutants.blind_spots import SEARCHED


def known_mutant(name: str) -> None:
    """Raise WrongInput where there is no mutant of that name that a search looks for."""
    if name not in SEARCHED:
        raise WrongInput(f"there is no mutant {name!r}; there are {', '.join(SEARCHED)}")


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Have the machines of this process a mutant, and what brings it out; raise WrongInput for no mutant."""
    known_mutant(name)
    mutant = SEARCHED[name]
    with mutant.triggered(), mutant.applied():
        yield


FAULTS: Final = (known_mutant, mutated)
