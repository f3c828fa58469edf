"""Which version of the lab runs, and from which commit."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

UNKNOWN: Final = "unknown"
SOURCE: Final = Path(__file__)


def commit(source: Path = SOURCE) -> str:
    """Return the short name of the commit that runs, or "unknown".

    A repository that does not hold `source` is another project's: a wheel may be installed into one.
    """
    git = shutil.which("git")
    if git is None:
        return UNKNOWN

    def answer(*words: str) -> str:
        asked = [git, "-C", str(source.parent), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()

    if not answer("ls-files", "--", source.name):
        return UNKNOWN
    return answer("rev-parse", "--short", "HEAD") or UNKNOWN


def version_line() -> str:
    """Return what `pef --version` prints."""
    known = commit()
    return f"pef {version('pef-lab')}" + ("" if known == UNKNOWN else f" (commit {known})")
