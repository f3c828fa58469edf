"""A rule: one step of the protocol, where it is possible, and what it changes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

from induction.variables import VARIABLES, State, Value

Allowed: TypeAlias = Sequence[Value]
"""One value as it stands, or a tuple of values."""
Cube: TypeAlias = Mapping[str, frozenset[Value]]
"""For some variables the values that each may have."""


class Misnamed(ValueError):
    """A rule or a clause names a variable or a value that there is not."""


def cube(allowed: Mapping[str, Allowed]) -> Cube:
    """Return the values that are allowed, by variable; raise Misnamed where one is none of the variable's."""
    chosen = {
        name: frozenset((values,) if isinstance(values, str) else values) for name, values in allowed.items()
    }
    for name, values in chosen.items():
        if name not in VARIABLES or not values <= set(VARIABLES[name]):
            message = f"{name} in {sorted(values)}"
            raise Misnamed(message)
    return chosen


def holds(chosen: Cube, state: State) -> bool:
    """Tell whether each variable of `chosen` has one of its values in `state`."""
    return all(state[name] in values for name, values in chosen.items())


@dataclass(frozen=True, slots=True)
class Rule:
    """One step: `when` each variable has one of its values, `changes` has the new ones of some.

    `cell` names the cell of a transition table that the rule was made of, or nothing.
    """

    name: str
    when: Cube
    changes: Mapping[str, Value]
    cell: str = ""

    def __str__(self) -> str:
        return f"{self.name} [{self.cell}]" if self.cell else self.name

    def apply(self, state: State) -> State:
        """Return the state that the rule leads to."""
        return {**state, **self.changes}


@dataclass(frozen=True, slots=True)
class From:
    """A new value that depends on old ones: a rule is made for each case of them."""

    names: tuple[str, ...]
    value: Callable[[State], Value]


Change: TypeAlias = Value | From


@dataclass(slots=True)
class Rules:
    """A collection of rules."""

    rules: list[Rule] = field(default_factory=list)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def add(
        self, name: str, when: Mapping[str, Allowed], changes: Mapping[str, Change], cell: str = ""
    ) -> None:
        """Add a rule, or one for each case of what its changes depend on."""
        chosen = cube(when)
        read = sorted(
            {each for change in changes.values() if isinstance(change, From) for each in change.names}
        )
        for values in product(*(sorted(chosen.get(each, VARIABLES[each])) for each in read)):
            case = dict(zip(read, values, strict=True))
            changed = {
                key: change.value(case) if isinstance(change, From) else change
                for key, change in changes.items()
            }
            cube(changed)
            self.rules.append(Rule(name, {**chosen, **cube(case)}, changed, cell))
