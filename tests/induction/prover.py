"""The proof: z3 is asked for a step that leads out of the invariant, and finds none.

| question | an answer is |
|---|---|
| does the start satisfy each clause? | the clause that it breaks |
| does a rule lead from a state of the invariant to one that breaks a clause? | the state, and the rule |

The properties are clauses of the invariant. So they hold of each state that the rules lead to.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import z3

from induction.clause import Clause
from induction.rule import Cube, Rule
from induction.variables import START, VARIABLES, State

Term: TypeAlias = z3.ExprRef
CODE: Final = {name: {value: at for at, value in enumerate(values)} for name, values in VARIABLES.items()}


@dataclass(frozen=True, slots=True)
class Broken:
    """Why there is no proof: a clause, a state of the invariant, and the rule that breaks the clause there.

    Without a rule the clause is broken by the start.
    """

    clause: Clause
    state: State
    rule: Rule | None = None


class Unknown(Exception):
    """z3 gave no answer: that is no proof."""


class Prover:
    """z3 with the variables of one state; a rule is a substitution of some of them."""

    def __init__(self) -> None:
        self._variables: dict[str, Term] = {
            name: z3.BitVec(name, max(1, (len(values) - 1).bit_length()))
            for name, values in VARIABLES.items()
        }
        self._solver = z3.SolverFor("QF_BV")
        for name, values in VARIABLES.items():
            self._solver.add(z3.ULE(self._variables[name], len(values) - 1))

    def prove(
        self, rules: Iterable[Rule], invariant: Sequence[Clause], most: int | None = None
    ) -> list[Broken]:
        """Return what keeps `invariant` from being inductive, or nothing; `most` steps are enough."""
        broken = [Broken(each, START) for each in invariant if not each.holds(START)]
        terms = {each: self._clause(each) for each in invariant}
        self._solver.push()
        self._solver.add(*terms.values())
        for rule in rules:
            broken += self._step(rule, terms)
            if most is not None and len(broken) >= most:
                break
        self._solver.pop()
        return broken

    def _step(self, rule: Rule, terms: Mapping[Clause, Term]) -> list[Broken]:
        """Return the clauses that `rule` breaks, each with a state before it."""
        changed = [
            (self._variables[name], z3.BitVecVal(CODE[name][value], self._variables[name].size()))
            for name, value in rule.changes.items()
        ]
        after = {
            clause: z3.substitute(term, *changed)
            for clause, term in terms.items()
            if any(name in rule.changes for cube in (clause.when, *clause.must) for name in cube)
        }
        guard = self._cube(rule.when)
        if not after or self._state(guard, z3.Not(z3.And(*after.values()))) is None:
            return []
        found = [(clause, self._state(guard, z3.Not(term))) for clause, term in after.items()]
        return [Broken(clause, state, rule) for clause, state in found if state is not None]

    def _state(self, *constraints: Term) -> State | None:
        """Return a state that satisfies the constraints, or None; raise Unknown where z3 can't tell."""
        self._solver.push()
        self._solver.add(*constraints)
        state, answer = None, self._solver.check()
        if answer == z3.unknown:
            raise Unknown(self._solver.reason_unknown())
        if answer == z3.sat:
            model = self._solver.model()
            state = {
                name: VARIABLES[name][model.eval(term, model_completion=True).as_long()]
                for name, term in self._variables.items()
            }
        self._solver.pop()
        return state

    def _cube(self, cube: Cube) -> Term:
        return z3.And(*(self._is_in(name, values) for name, values in cube.items()))

    def _is_in(self, name: str, values: Iterable[str]) -> Term:
        return z3.Or(*(self._variables[name] == CODE[name][value] for value in sorted(values)))

    def _clause(self, clause: Clause) -> Term:
        return z3.Or(z3.Not(self._cube(clause.when)), *map(self._cube, clause.must))
