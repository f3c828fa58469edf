"""Run a service with a mutant in it: `python -m mutants.serve K4 hypervisor`, with `PYTHONPATH=tests`.

The environment is that of the service; several mutants are joined by commas.
"""

import argparse
from contextlib import ExitStack

from mutants.registry import MUTANTS
from pef_hypervisor import app as hypervisor
from pef_protocol.events import Side
from pef_ultravisor import app as ultravisor

SERVICES = {Side.ULTRAVISOR: ultravisor.main, Side.HYPERVISOR: hypervisor.main}


def main() -> None:
    """Apply the mutants that the first word names, and serve the side that the second one does."""
    parser = argparse.ArgumentParser(prog="mutants.serve", description="Run a service with mutants in it.")
    parser.add_argument("mutants", type=_known, help=f"joined by commas, of {', '.join(MUTANTS)}")
    parser.add_argument("side", type=Side, choices=list(Side))
    words = parser.parse_args()
    with ExitStack() as applied:
        for name in words.mutants:
            applied.enter_context(MUTANTS[name].applied())
        SERVICES[words.side]()


def _known(words: str) -> list[str]:
    names = words.split(",")
    if unknown := [name for name in names if name not in MUTANTS]:
        message = f"no such mutant: {', '.join(unknown)}"
        raise argparse.ArgumentTypeError(message)
    return names


if __name__ == "__main__":
    main()
