"""The boundary between the two services, as it is installed and imported."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = {"ultravisor": "pef_ultravisor", "hypervisor": "pef_hypervisor"}


def output_of(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and return what it prints; fail with it where it fails."""
    ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}:\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize("side", SERVICES)
@pytest.mark.verify
def test_each_service_installs_without_the_other(side: str, tmp_path: Path) -> None:
    """Given an empty environment.

    When one service is installed there,
    then all its modules import, and neither the other service nor the lab is there.
    """
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile")
    constrained = (*install, "-c", ROOT / "constraints.txt")
    output_of(*constrained, "hatchling")
    output_of(*constrained, "--no-build-isolation", "./shared", f"./services/{side}")
    own, other = SERVICES[side], SERVICES[next(name for name in SERVICES if name != side)]
    asked = f"""
import importlib.util, pkgutil, sys
import {own}
for module in pkgutil.walk_packages({own}.__path__, "{own}."):
    __import__(module.name)
found = [name for name in ("{other}", "pef_lab") if importlib.util.find_spec(name)]
loaded = [name for name in sys.modules if name.startswith(("{other}", "pef_lab"))]
print(found + loaded, {own}.__file__)
"""
    reported = output_of(python, "-W", "ignore", "-c", asked, cwd=tmp_path)
    assert reported.startswith(f"[] {tmp_path}"), reported
    assert (tmp_path / "venv" / "bin" / f"pef-{side}").exists()


def test_the_import_contracts_hold() -> None:
    assert "0 broken" in output_of(Path(sys.executable).with_name("lint-imports"), "--no-cache")
