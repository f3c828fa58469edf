"""`make crash`: play the whole crash matrix, and say what it breaks.

Prints the yields of each operation, and for each kind of violation the shortest case that shows it.
"""

import sys
from collections import defaultdict

from crash import kills, matrix
from crash.http_operations import HTTP_OPERATIONS
from crash.kinds import Kind, Violation
from crash.operations import OPERATIONS


def main() -> int:
    """Play all cases; return 1 where one breaks a promise."""
    broken: defaultdict[Kind, dict[str, Violation]] = defaultdict(dict)
    played = matrix.play()
    for operation, moments in zip(OPERATIONS, played.moments, strict=True):
        say(f"{operation.name:50} {len(moments) // 2:4} yields")
    say(f"{len(played.calls)} calls: {', '.join(sorted(played.calls))}", "")
    for case in sorted(played.outcomes, key=lambda case: (case.place, case.operation)):
        where = f"{OPERATIONS[case.operation].name}, {played.moments[case.operation][case.place]}"
        for violation in played.outcomes[case]:
            broken[violation.kind].setdefault(f"{where}, the {case.dies} dies", violation)
    killed = kills.play()
    for each, names in zip(HTTP_OPERATIONS, killed.messages, strict=True):
        say(f"{each.name:50} {len(names):4} messages")
    sent = sorted({name for names in killed.messages for name in names})
    say(f"{len(sent)} kinds of message: {', '.join(sent)}", "")
    for kill, violations in killed.outcomes.items():
        for violation in violations:
            broken[violation.kind].setdefault(killed.told(kill), violation)
    for kind, found in broken.items():
        where, violation = next(iter(found.items()))
        say(f"{kind}: {len(found)} cases", f"  {where}: {violation.detail}")
    count = sum(map(len, broken.values()))
    cases = f"{len(played.outcomes)} in process, {len(killed.outcomes)} kills over HTTP"
    say(f"crash: {cases}, {count} violations")
    return 1 if count else 0


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
