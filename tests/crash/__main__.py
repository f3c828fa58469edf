"""`make crash`: play the whole crash matrix, and say what it breaks.

Prints the yields of each operation, and for each kind of violation the shortest case that shows it.
"""

import sys
from collections import defaultdict

from crash.kinds import Kind, Violation
from crash.matrix import Case, play
from crash.operations import OPERATIONS


def main() -> int:
    """Play all cases; return 1 where one breaks a promise."""
    matrix = play()
    for operation, moments in zip(OPERATIONS, matrix.moments, strict=True):
        say(f"{operation.name:50} {len(moments) // 2:4} yields")
    say(f"calls: {', '.join(sorted(matrix.calls))}")
    broken: defaultdict[Kind, dict[Case, Violation]] = defaultdict(dict)
    for case, violations in matrix.outcomes.items():
        for violation in violations:
            broken[violation.kind].setdefault(case, violation)
    for kind, cases in broken.items():
        case = min(cases, key=lambda case: (case.place, case.operation))
        where = f"{OPERATIONS[case.operation].name}, {matrix.moments[case.operation][case.place]}"
        say(f"{kind}: {len(cases)} cases", f"  {where}, the {case.dies} dies: {cases[case].detail}")
    count = sum(len(cases) for cases in broken.values())
    say(f"crash: {len(matrix.outcomes)} in process, 0 kills over HTTP, {count} violations")
    return 1 if count else 0


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
