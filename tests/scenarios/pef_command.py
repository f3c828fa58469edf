"""Runs the `pef` command of this environment as a process, the way a person does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

PEF: Final = Path(sys.executable).with_name("pef")


def environment(runtime: Path) -> dict[str, str]:
    """Return our environment without a pair in it, with its own directory for one that is kept up."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PEF_")}
    return own | {"XDG_RUNTIME_DIR": str(runtime)}


def pef(*words: str | Path, runtime: Path, time_limit: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `pef` with `words` and return what came of it."""
    return subprocess.run(
        [PEF, *words],
        env=environment(runtime),
        capture_output=True,
        text=True,
        timeout=time_limit,
        check=False,
    )
