"""Which designs a part of the system knows, and what it imports for them: seen in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

PARTS: Final = {
    "hypervisor": ("pef_hypervisor.designs", {"pef_ultravisor", "pef_lab"}),
    "ultravisor": ("pef_ultravisor.designs", {"pef_hypervisor", "pef_lab"}),
    "lab": ("pef_lab.known_designs", {"pef_hypervisor", "pef_ultravisor"}),
}
"""The module that has the designs of each part, and the packages of the others, which it may not import."""
LOOK: Final = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
rows = module.DESIGNS if hasattr(module, "DESIGNS") else module.known_designs()
print(json.dumps([[*rows], sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def known_to(part: str, environment: Mapping[str, str]) -> tuple[list[str], set[str]]:
    """Return the designs that a process of one part knows, and the packages that it has imported."""
    ran = subprocess.run(
        [sys.executable, "-c", LOOK, PARTS[part][0]],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    designs, packages = json.loads(ran.stdout)
    return designs, set(packages)
