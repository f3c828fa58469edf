"""Becomes the program that its arguments name, and has it end when whoever started it is gone.

Run as a script by a bare interpreter: it imports nothing but the standard library. The kernel keeps the wish
across exec, so the program needs to know nothing of it.

Source: prctl(2), PR_SET_PDEATHSIG.
"""

import ctypes
import os
import signal
import sys

SET_PARENT_DEATH_SIGNAL = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the program is our own console script
