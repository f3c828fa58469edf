"""Put the counterexamples of `docs/` into the wheel, where the repository is there, for the console."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = "docs/counterexamples"
PACKAGE = "pef_console/counterexamples"


class Counterexamples(BuildHookInterface):  # type: ignore[type-arg]
    """Adds a folder to a wheel. An editable installation reads them from the tree."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to what is built."""
        folder = Path(self.root).parent / FILES
        if version == "standard" and folder.is_dir():
            build_data["force_include"] |= {
                str(path): f"{PACKAGE}/{path.relative_to(folder)}" for path in folder.rglob("*.json")
            }
