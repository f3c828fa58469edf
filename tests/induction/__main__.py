"""`make induction`: see `induction.command`. Exit status: 0 as expected, 1 not so, 2 where there is no z3."""

import sys
from importlib import import_module
from importlib.util import find_spec


def main() -> int:
    """Prove and refute, if the solver is there."""
    if find_spec("z3") is None:
        sys.stderr.write("induction: z3-solver is not installed; `make induction` installs it\n")
        return 2
    return int(import_module("induction.command").run())


if __name__ == "__main__":
    sys.exit(main())
