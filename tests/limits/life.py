"""The life of a large VM, measured in a process that has the settings of the Ultravisor's allocator.

    PYTHONPATH=tests python -m limits.life BYTES mapped|http

Prints the longest callback of each step as JSON. These settings make the C library fill each block that it
hands out. So a block as large as a slot's columns costs time, which a test's own process would not show.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from limits.pair_on_one_loop import Longest, measured_pair
from limits.vms import longest_callbacks
from pef_ultravisor.start import FORGETFUL

TESTS = str(Path(__file__).parents[1])


def longest_callbacks_of_a_process(size: int, *, mapped: bool = True) -> dict[str, Longest]:
    """Lead a VM of `size` bytes through its life in such a process; return each step's longest callback."""
    command = [sys.executable, "-m", "limits.life", str(size), "mapped" if mapped else "http"]
    environment = os.environ | FORGETFUL | {"PYTHONPATH": TESTS}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return {step: Longest(*times) for step, times in json.loads(ran.stdout).items()}


def main(size: int, *, mapped: bool) -> None:
    """Print the longest callbacks of a VM's life here."""
    with measured_pair(mapped=mapped, memory=size) as pair:
        json.dump(asyncio.run(longest_callbacks(pair, size)), sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), mapped=sys.argv[2] == "mapped")
