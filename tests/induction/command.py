"""Prove the sound designs for one GFN and any number of calls, and refute three others.

A refutation is twofold: z3 finds a rule that leads out of the invariant, and there is a run of the rules from
the start to a state that breaks a property. Printed is the step of that run which leaves the invariant.
"""

import sys
from typing import Final

from induction.clause import Clause
from induction.design import tables_of
from induction.invariant import invariant
from induction.properties import properties
from induction.prover import Broken, Prover
from induction.reach import reach, run_to_breach
from induction.rule import Rule
from induction.rules_of import rules_of
from induction.variables import START, State
from pef_protocol.designs import Design

PROVED: Final = (Design.TRACKED, Design.TRACKED_PAGEIN, Design.PUSHED_FIXED)
REFUTED: Final = (Design.EAGER, Design.BROKEN, Design.PUSHED)
SHOWN: Final = 5
"""Steps out of the invariant that are printed, at most."""


def run() -> int:
    """Prove and refute; return 1 where one of them fails."""
    proved = [prove(name) for name in PROVED]
    refuted = [refute(name) for name in REFUTED]
    rules = sum(proved)
    as_expected = f"{sum(refuted)} refuted as expected" if all(refuted) else "NOT refuted as expected"
    say(f"induction: {sum(map(bool, proved))} designs proved, {rules} rules, {as_expected}")
    return 0 if all(proved) and all(refuted) else 1


def prove(name: Design) -> int:
    """Prove a design; return how many rules it has, or 0 where it is not proved."""
    tables = tables_of(name)
    rules, clauses = list(rules_of(tables)), invariant(name, tables)
    broken = Prover().prove(rules, clauses)
    if broken:
        say(f"{name}: not proved, {len(broken)} steps lead out of the invariant")
        for each in broken[:SHOWN]:
            say(*lines_of(each))
        return 0
    happen = int(reach(rules).fired.sum())
    say(f"{name}: proved, {len(rules)} rules of which {happen} happen, {len(clauses)} clauses")
    return len(rules)


def refute(name: Design) -> bool:
    """Refute a design; return whether both refutations were found."""
    tables = tables_of(name)
    rules = list(rules_of(tables))
    clauses = invariant(name, tables)
    found = run_to_breach(reach(rules), rules, properties(name))
    if found is None or not Prover().prove(rules, clauses, most=1):
        say(f"{name}: not refuted")
        return False
    clause, steps = found
    say(f"{name}: refuted, {len(steps)} steps from the start break: {clause.sentence}")
    say(*lines_of(first_out(steps, clauses)))
    return True


def first_out(steps: list[tuple[Rule, State]], clauses: list[Clause]) -> Broken:
    """Return the first step of a run that leads out of the invariant."""
    before = START
    for rule, after in steps:
        left = next((clause for clause in clauses if not clause.holds(after)), None)
        if left is not None:
            return Broken(left, before, rule)
        before = after
    raise AssertionError(steps)


def lines_of(broken: Broken) -> list[str]:
    """Return a step out of the invariant, in lines: the clause, the rule with its cell, before and after."""
    lines = [f"  leaves: {broken.clause.sentence}"]
    if broken.rule is None:
        return [*lines, f"    at: {written(broken.state)}"]
    after = {name: value for name, value in broken.rule.changes.items() if broken.state[name] != value}
    return [
        *lines,
        f"    by: {broken.rule}",
        f"    before: {written(broken.state)}",
        f"    after: {written(after)}",
    ]


def written(state: State, *, whole: bool = False) -> str:
    """Return what is worth reading of a state, or the whole of it."""
    plain = set() if whole else {"NONE", "no"}
    return ", ".join(f"{name} {value}" for name, value in state.items() if value not in plain)


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
