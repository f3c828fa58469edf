"""Stands where `pef_lab.ends_with_starter` does, and runs the service that it names with mutants in it.

Run as a script by a bare interpreter with the service's console script as its one argument; the environment
says which mutants (see `mutants.served`). It ends with whoever started it.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

SET_PARENT_DEATH_SIGNAL = 1
MUTANTS = "APPLIED_MUTANTS"

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    side = Path(sys.argv[1]).name.removeprefix("pef-")
    tests = str(Path(__file__).parents[1])
    words = [sys.executable, "-m", "mutants.serve", os.environ[MUTANTS], side]
    os.execve(sys.executable, words, os.environ | {"PYTHONPATH": tests})  # noqa: S606 - ourselves
