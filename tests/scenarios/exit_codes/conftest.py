"""Each command is tried alone."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have no pair in the environment, and write nothing but below a directory of the test."""
    for name in [name for name in os.environ if name.startswith("PEF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
