"""The wheels, as someone installs them who has no clone and no index."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest

from pef_protocol.version import VERSION

ROOT: Final = Path(__file__).parents[2]
TIMEOUT: Final = 300
"""Seconds that any one command may take; the wheels take longest where the index is far."""
PACKAGES: Final = {
    "pef_shared": {"pef_protocol": "shared/src", "pef_kit": "shared/src"},
    "pef_ultravisor": {"pef_ultravisor": "services/ultravisor/src"},
    "pef_hypervisor": {"pef_hypervisor": "services/hypervisor/src"},
    "pef_lab": {
        "pef_lab": "lab/src",
        "pef_explorer": "lab/src",
        "pef_mutants": "lab/src",
        "pef_console": "lab/src",
        "pef_model": "lab/src",
        "pef_lessons": "lab/src",
    },
}

pytestmark = pytest.mark.verify


def output_of(*command: str | Path, cwd: Path) -> str:
    """Run a command without this process's settings of Python and of ours; return all that it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PEF_"))}
    done = subprocess.run(
        command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build all wheels, outside the tree."""
    folder = tmp_path_factory.mktemp("wheels") / "dist"
    output_of("make", "-s", "wheels", f"DIST={folder}", cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install what README.md says, from the wheelhouse alone, into a new environment outside the tree."""
    outside = tmp_path_factory.mktemp("outside")
    output_of(sys.executable, "-m", "venv", outside / "venv", cwd=outside)
    pip = (
        outside / "venv/bin/python",
        "-m",
        "pip",
        "--isolated",
        "install",
        "--no-index",
        "--no-compile",
        "-q",
    )
    output_of(*pip, "--find-links", dist / "wheelhouse", "pef-lab[pair]", cwd=outside)
    return outside


@pytest.mark.parametrize("distribution", PACKAGES)
def test_a_wheel_has_every_file_of_its_packages(dist: Path, distribution: str) -> None:
    (wheel,) = dist.glob(f"{distribution}-{VERSION}-*.whl")
    wanted = {
        str(path.relative_to(ROOT / source))
        for package, source in PACKAGES[distribution].items()
        for path in (ROOT / source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = set(ZipFile(wheel).namelist())
    wanted |= {f"{package}/py.typed" for package in PACKAGES[distribution]}
    assert wanted - names == set()


def test_the_console_has_its_page_and_every_counterexample(dist: Path) -> None:
    (wheel,) = dist.glob(f"pef_lab-{VERSION}-*.whl")
    counterexamples = ROOT / "docs" / "counterexamples"
    wanted = {
        f"pef_console/counterexamples/{path.relative_to(counterexamples)}"
        for path in counterexamples.rglob("*.json")
    }
    assert {"pef_console/page/index.html", *wanted} - set(ZipFile(wheel).namelist()) == set()


def test_the_demonstration_runs_outside_the_tree(installed: Path) -> None:
    """Given an environment that was made from the wheelhouse alone, `pef demo` exits with 0."""
    said = output_of(installed / "venv/bin/pef", "demo", cwd=installed)
    assert "All came out as it should" in said


@pytest.mark.parametrize("command", ["pef", "pef-ultravisor", "pef-hypervisor"])
def test_each_command_is_installed(installed: Path, command: str) -> None:
    assert os.access(installed / "venv/bin" / command, os.X_OK)


def test_nothing_is_read_from_the_tree(installed: Path) -> None:
    """Given that environment, every package of ours comes from it."""
    packages = [package for each in PACKAGES.values() for package in each]
    program = f"import importlib.util as u; print(*(u.find_spec(name).origin for name in {packages}))"
    origins = output_of(installed / "venv/bin/python", "-c", program, cwd=installed).split()
    assert [each for each in origins if not Path(each).is_relative_to(installed)] == []
