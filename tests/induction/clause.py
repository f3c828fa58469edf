"""A clause of a property or an invariant: where `when` holds, one of `must` does."""

from collections.abc import Mapping
from dataclasses import dataclass

from induction.rule import Allowed, Cube, cube, holds
from induction.variables import State


@dataclass(frozen=True, slots=True, eq=False)
class Clause:
    """A sentence, and what it says of a state: `when` implies one of `must`."""

    sentence: str
    when: Cube
    must: tuple[Cube, ...]

    def holds(self, state: State) -> bool:
        """Tell whether the state is as the clause says."""
        return not holds(self.when, state) or any(holds(each, state) for each in self.must)


def clause(sentence: str, when: Mapping[str, Allowed], *must: Mapping[str, Allowed]) -> Clause:
    """Return a clause."""
    return Clause(sentence, cube(when), tuple(map(cube, must)))
