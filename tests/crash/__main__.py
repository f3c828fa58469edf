"""`make crash`: play the whole crash matrix, and say what it breaks.

Prints the yields and messages of each operation, how often each side was killed at each kind of message, and
for each kind of violation the first case that shows it.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator

from crash import kills, matrix
from crash.kinds import Kind, Violation
from crash.printed import LEAST, cells_of, of_messages, of_operations, progress, reasons, skipped, wrong_cells


def main() -> int:
    """Play all cases; return 1 where one breaks a promise, or one is missing."""
    in_process = matrix.run_all(progress("in process"))
    killed = kills.run_all(progress("over HTTP"))
    cells = cells_of(killed)
    missing = [*skipped(in_process), *wrong_cells(cells, reasons())]
    if len(killed.outcomes) < LEAST:
        missing.append(f"{len(killed.outcomes)} kills over HTTP, not {LEAST}")
    broken: defaultdict[Kind, list[tuple[str, Violation]]] = defaultdict(list)
    for where, violation in [*of_matrix(in_process), *of_kills(killed)]:
        broken[violation.kind].append((where, violation))
    say(*of_operations(in_process, killed), *of_messages(cells), *missing)
    for kind, found in broken.items():
        where, violation = found[0]
        say(f"{kind}: {len(found)} cases", f"  {where}: {violation.detail}")
    count = sum(map(len, broken.values()))
    cases = f"{len(in_process.outcomes)} in process, {len(killed.outcomes)} kills over HTTP"
    say(f"crash: {cases}, {count} violations")
    return 1 if count or missing else 0


def of_matrix(in_process: matrix.Matrix) -> Iterator[tuple[str, Violation]]:
    """Yield what was broken in process, the earliest moments first; of each kind one a case."""
    for case in sorted(in_process.outcomes, key=lambda case: (case.place, case.operation)):
        for violation in {each.kind: each for each in in_process.outcomes[case]}.values():
            yield f"{in_process.reported(case)}", violation


def of_kills(killed: kills.Kills) -> Iterator[tuple[str, Violation]]:
    """Yield what was broken over HTTP; of each kind one a case."""
    for case, violations in killed.outcomes.items():
        for violation in {each.kind: each for each in violations}.values():
            yield str(case), violation


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
