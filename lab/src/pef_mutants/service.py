"""Run one service with mutants in it: `python -m pef_mutants.service hypervisor K4 K5`.

The environment is that of the service. A mutant of the other side changes nothing here.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final

from pef_hypervisor import app as hypervisor
from pef_mutants.all_mutants import APPLICABLE
from pef_protocol.events import Side
from pef_ultravisor import app as ultravisor

SERVICES: Final[Mapping[Side, Callable[[], None]]] = {
    Side.ULTRAVISOR: ultravisor.main,
    Side.HYPERVISOR: hypervisor.main,
}


def main() -> None:
    """Apply the mutants that are named, and serve the side."""
    parser = argparse.ArgumentParser("pef_mutants.service", description="Run a service with mutants in it.")
    parser.add_argument("side", type=Side, choices=list(Side))
    parser.add_argument("mutants", nargs="+", metavar="NAME", help="`python -m pef_mutants` lists them")
    words = parser.parse_args()
    sys.argv[1:] = []  # a service takes no arguments
    if unknown := [name for name in words.mutants if name not in APPLICABLE]:
        parser.error(f"no such mutant: {', '.join(unknown)}")
    with ExitStack() as applied:
        for name in words.mutants:
            applied.enter_context(APPLICABLE[name].applied())
        SERVICES[words.side]()


if __name__ == "__main__":
    main()
