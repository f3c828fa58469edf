"""Find Chromium on this machine: the path in PEF_CHROMIUM, or a name on the PATH."""

import os
import shutil
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ADVICE: Final = "no Chromium is here: install Debian's package chromium, or set PEF_CHROMIUM to its path"


def chromium() -> str | None:
    """Return the path of Chromium, or None."""
    named = os.environ.get("PEF_CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def arguments() -> list[str]:
    """Return what Chromium needs to start here: root has no sandbox."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []
