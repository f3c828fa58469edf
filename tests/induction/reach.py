"""Every state of the model that the rules lead to from the start: what the proof does not need, and tests do.

It shows that each rule can happen, and that a refutation is no mere artefact: an unsound design has a run of
the model from the start to a state that breaks a property.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

from induction.clause import Clause
from induction.rule import Cube, Rule
from induction.variables import START, VARIABLES, State

NAMES: Final = tuple(VARIABLES)
PLACE: Final = {name: at for at, name in enumerate(NAMES)}
CODE: Final = {name: {value: at for at, value in enumerate(values)} for name, values in VARIABLES.items()}
States = NDArray[np.uint8]
_SIZES: Final = [len(values) for values in VARIABLES.values()]


def coded(state: State) -> States:
    """Return a state as numbers (uint8, one per variable)."""
    return np.array([CODE[name][state[name]] for name in NAMES], np.uint8)


def decoded(row: States) -> State:
    """Return the state that such numbers stand for."""
    return {name: VARIABLES[name][int(row[at])] for at, name in enumerate(NAMES)}


def where(chosen: Cube, rows: States) -> NDArray[np.bool_]:
    """Tell for which rows `chosen` holds."""
    found: NDArray[np.bool_] = np.ones(len(rows), np.bool_)
    for name, values in chosen.items():
        found &= np.isin(rows[:, PLACE[name]], [CODE[name][value] for value in values])
    return found


def breaking(clause: Clause, rows: States) -> NDArray[np.intp]:
    """Return the places of the rows that break a clause."""
    broken = where(clause.when, rows)
    for each in clause.must:
        broken &= ~where(each, rows)
    return np.flatnonzero(broken)


def keys_of(rows: States) -> NDArray[np.void]:
    """Return one value for each row (uint8, rows x variables) by which rows are told apart."""
    found: NDArray[np.void] = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1])))
    return found.reshape(-1)


@dataclass(slots=True)
class Reached:
    """Rows of states, with the row and the rule by which each came first, and which rules happened."""

    rows: States
    came: NDArray[np.int64]
    by: NDArray[np.int64]
    fired: NDArray[np.bool_]

    def path(self, place: int, rules: list[Rule]) -> list[tuple[Rule, State]]:
        """Return a shortest run to a state: each rule with the state that it led to."""
        steps: list[tuple[Rule, State]] = []
        while self.came[place] >= 0:
            steps.append((rules[int(self.by[place])], decoded(self.rows[place])))
            place = int(self.came[place])
        return steps[::-1]


def reach(rules: Iterable[Rule], most: int = 5_000_000) -> Reached:
    """Return all states that `rules` lead to, or the first `most`."""
    every = list(rules)
    guards = [_guard(rule) for rule in every]
    rows = coded(START)[None, :]
    levels, came, by = [rows], [np.array([-1])], [np.array([-1])]
    seen = set(keys_of(rows).tolist())
    fired = np.zeros(len(every), np.bool_)
    start = 0
    while len(rows) and start < most:
        new_rows: list[States] = []
        new_came: list[NDArray[np.int64]] = []
        new_by: list[NDArray[np.int64]] = []
        fresh: set[bytes] = set()
        for number, (rule, guard) in enumerate(zip(every, guards, strict=True)):
            mask = reduce(np.logical_and, [table[rows[:, at]] for at, table in guard])
            chosen = np.flatnonzero(mask)
            if not len(chosen):
                continue
            fired[number] = True
            after = rows[chosen].copy()
            for name, value in rule.changes.items():
                after[:, PLACE[name]] = CODE[name][value]
            keep = []
            for at, key in enumerate(keys_of(after).tolist()):
                if key not in seen and key not in fresh:
                    fresh.add(key)
                    keep.append(at)
            new_rows.append(after[keep])
            new_came.append(chosen[keep] + start)
            new_by.append(np.full(len(keep), number))
        seen |= fresh
        start += len(rows)
        rows = np.concatenate(new_rows) if new_rows else rows[:0]
        levels.append(rows)
        came.extend(new_came)
        by.extend(new_by)
    return Reached(np.concatenate(levels), np.concatenate(came), np.concatenate(by), fired)


def run_to_breach(
    reached: Reached, rules: list[Rule], properties: Iterable[Clause]
) -> tuple[Clause, list[tuple[Rule, State]]] | None:
    """Return a property that a reached state breaks, and a shortest run to it, the nearest first; or None."""
    broken = [
        (int(places[0]), clause) for clause in properties if len(places := breaking(clause, reached.rows))
    ]
    if not broken:
        return None
    place, clause = min(broken, key=lambda each: each[0])
    return clause, reached.path(place, rules)


def _guard(rule: Rule) -> list[tuple[int, NDArray[np.bool_]]]:
    tables = []
    for name, values in rule.when.items():
        table = np.zeros(len(VARIABLES[name]), np.bool_)
        table[[CODE[name][value] for value in values]] = True
        tables.append((PLACE[name], table))
    return tables
