"""Runs the matrix, and prints it: `python -m interleavings`."""

import sys

from interleavings.matrix import LEAST, run_all
from interleavings.printed import lines_of, wrong_reasons


def main() -> int:
    """Print the matrix; return 1 where something is violated, a reason is wrong, or cases are missing."""
    report = run_all()
    found = list(wrong_reasons(report.cells))
    sys.stdout.write("\n".join(lines_of(report, found)) + "\n")
    return 1 if report.violated or found or report.cases < LEAST else 0


if __name__ == "__main__":
    sys.exit(main())
