"""The composite action: it has its schema, and its shell steps do what they say, without any runner."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
ACTION: Final = ROOT / "lab/action/action.yml"
TIMEOUT: Final = 300
"""Seconds that one step may take; the installation takes longest where the index is far."""
INPUT: Final = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


def action() -> dict[str, Any]:
    """Return the action as a runner reads it."""
    found: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    return found


def ran(step: dict[str, Any], folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run a step as a runner does: bash with -e and pipefail; inputs are variables, GITHUB_* name files."""
    given = {name: str(each["default"]) for name, each in action()["inputs"].items()} | inputs
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PEF_"))}
    variables = {
        "GITHUB_ACTION_PATH": str(ACTION.parent),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "RUNNER_TEMP": str(folder.parent),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    asked = {
        name: INPUT.sub(lambda found: given[found[1]], value) for name, value in step.get("env", {}).items()
    }
    return subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env=kept | variables | asked,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the first step; return the folder that stands for RUNNER_TEMP."""
    folder = tmp_path_factory.mktemp("runner")
    (folder / "install").mkdir()
    done = ran(action()["runs"]["steps"][0], folder / "install")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def folder(installed: Path, request: pytest.FixtureRequest) -> Path:
    """Give each test a folder of its own in the runner's, as its workspace."""
    path = installed / str(request.node.name)
    path.mkdir()
    return path


def test_no_step_puts_an_input_into_its_program() -> None:
    """Given a step, inputs reach its program by the environment, so that none is run as code."""
    steps = action()["runs"]["steps"]
    assert [step["name"] for step in steps if "${{" in step["run"]] == []
    named = {
        name for step in steps for value in step.get("env", {}).values() for name in INPUT.findall(value)
    }
    assert named == action()["inputs"].keys()


@pytest.mark.verify
def test_the_action_has_its_schema(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions"]
    wrong = tmp_path / "action.yml"
    wrong.write_text(ACTION.read_text(encoding="utf-8").replace("using: composite", "using: nothing"))
    codes = [
        subprocess.run([*command, str(file)], capture_output=True, timeout=TIMEOUT, check=False).returncode
        for file in (ACTION, wrong)
    ]
    assert codes == [0, 1]


@pytest.mark.verify
def test_rows_that_pass_are_a_summary_and_a_report(folder: Path) -> None:
    done = ran(action()["runs"]["steps"][1], folder, id="uv/page-inval/*")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = (folder / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("## Protocol rows\n\nEvery row that must hold, and that was played, passes.\n")
    assert ", 0 failed" in summary
    assert (folder / "output").read_text(encoding="utf-8") == "report=pef-report\n"
    assert {each.name for each in (folder / "pef-report").iterdir()} == {"rows.json", "rows.xml", "rows.txt"}


@pytest.mark.verify
def test_an_implementation_that_is_not_there_fails_the_step(folder: Path) -> None:
    done = ran(action()["runs"]["steps"][1], folder, ultravisor="http://127.0.0.1:9", id="uv/page-inval/*")
    assert done.returncode != 0
    assert "Every row" not in (folder / "summary.md").read_text(encoding="utf-8")
