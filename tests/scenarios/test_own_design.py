"""The worked example of a design from outside: run over HTTP and explored as a built-in design is.

Nothing is installed: a folder with the metadata that an installation would write lies on the path.
"""

import asyncio
import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from harness.known_designs import PARTS, known_to
from pef_kit.core.designs import GROUP, NAMED_BY
from pef_lab.designs.report import VERDICTS
from pef_lab.pair import PairPlan, started
from pef_protocol.designs import Design
from pef_protocol.http import VMM_PATH
from scenarios.pef_command import PEF, environment

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "docs" / "examples" / "own_design"
NAME: Final = "eager-visible"
EAGERS: Final = ROOT / "docs" / "counterexamples" / "eager-the-tables-agree.json"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Describe the example as its installation would, and return the path on which it is found."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    described = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    described.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (described / "METADATA").write_text(metadata)
    entries = [f"{name} = {where}" for name, where in project["entry-points"][GROUP].items()]
    (described / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *entries, ""]))
    return f"{tmp_path}:{EXAMPLE}"


def pef(*words: str | Path, path: str, runtime: Path, named: str = NAME) -> subprocess.CompletedProcess[str]:
    """Run `pef` with the example on the path."""
    where = environment(runtime) | {"PYTHONPATH": path, NAMED_BY: named}
    return subprocess.run([PEF, *words], env=where, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_the_example_where_it_is_named_and_no_other_part(part: str, path: str) -> None:
    """Given the example on the path; when a part starts; then it reads its own row, if it is told to."""
    designs, packages = known_to(part, {"PYTHONPATH": path, NAMED_BY: ""})
    assert designs == [*Design]
    assert "own_design" not in packages
    designs, packages = known_to(part, {"PYTHONPATH": path, NAMED_BY: NAME})
    assert designs == [*Design, NAME]
    assert "own_design" in packages
    assert not packages & PARTS[part][1]


def test_no_image_is_made_from_the_documents() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert let_in == {"constraints.txt", "shared", "services", "lab", "docs/counterexamples"}
    example = (ROOT / "docs/examples/own_design/own_design.py").read_bytes()
    for folder in let_in - {"constraints.txt"}:
        assert not [path for path in (ROOT / folder).rglob("*.py") if path.read_bytes() == example]


@pytest.mark.verify
@pytest.mark.sockets
@pytest.mark.slow
def test_the_example_runs_in_a_pair_of_processes(path: str, tmp_path: Path) -> None:
    """The example is sound where `eager` is not.

    Given a pair that knows the example; when a VM enters secure mode, gets a slot, and reboots; then each
    step is as it should be, while `eager` fails at the slot.
    """
    report = tmp_path / "report.json"
    words = ("designs", "--size", "64MiB", "--touched", "2MiB", "--design", "eager", "--design", NAME)
    ran = pef(*words, "--json", report, path=path, runtime=tmp_path)
    assert ran.returncode == 0, ran.stderr
    eager, own = (each["verdicts"] for each in json.loads(report.read_text())["designs"])
    assert own == dict.fromkeys(VERDICTS, "ok")
    assert eager == own | {"hot_add": "corrupt"}


@pytest.mark.verify
@pytest.mark.slow
def test_the_example_is_explored(path: str, tmp_path: Path) -> None:
    """The explorer finds what two states cost, and nothing else.

    Given a VM of one GFN, with one to plug; when one call is open at a time; then under the example a page is
    lost that was out when UV_ESM failed, and under `eager` the tables disagree, too.
    """
    report = tmp_path / "report.json"
    words = ("explore", "--design", "eager", "--design", NAME, "--slots", "1,1", "--calls", "1")
    ran = pef(*words, "--processes", "2", "--json", report, path=path, runtime=tmp_path)
    assert ran.returncode == 1, ran.stderr
    eager, own = json.loads(report.read_text())["designs"]
    assert own["complete"]
    assert {each["invariant"] for each in own["violations"]} == {"the_guest_finds_what_it_wrote"}
    assert {each["invariant"] for each in eager["violations"]} == {
        "the_tables_agree",
        "the_guest_finds_what_it_wrote",
    }


@pytest.mark.verify
@pytest.mark.sockets
@pytest.mark.slow
def test_a_counterexample_of_eager_is_one_of_the_example(path: str, tmp_path: Path) -> None:
    """A slot that is plugged during UV_ESM breaks the example, too.

    Given the schedule of two calls at once that breaks `eager`; when it is played under the example; then
    both services do what the file says, and the two tables disagree.
    """
    content: dict[str, Any] = json.loads(EAGERS.read_text())
    schedule = tmp_path / "schedule.json"
    schedule.write_text(json.dumps(content | {"design": NAME}))
    ran = pef("replay", schedule, path=path, runtime=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"design {NAME}" in ran.stdout
    assert "GFN 2: Hypervisor NORMAL, Ultravisor SECURE" in ran.stdout
    unnamed = pef("replay", schedule, path=path, runtime=tmp_path, named="")
    assert (unnamed.returncode, "design: no such design; there are eager, " in unnamed.stderr) == (2, True)


@pytest.mark.slow
def test_the_example_is_simulated(path: str, tmp_path: Path) -> None:
    ran = pef("simulate", "--seeds", "1", "--steps", "40", "--design", NAME, path=path, runtime=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert f"{NAME}, 40 actions" in ran.stdout


@pytest.mark.sockets
@pytest.mark.slow
async def test_both_documents_and_each_refusal_name_the_registered_designs(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VMM learns which designs there are.

    Given a pair that knows the example; when a VM of an unknown design is asked for; then HTTP 422 lists all
    designs, as the OpenAPI document does.
    """
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv(NAMED_BY, NAME)
    async with started(PairPlan(64 << 20)) as pair:
        where = pair.endpoints
        async with httpx.AsyncClient(base_url=where.hypervisor_url, trust_env=False) as client:
            vmm = {"authorization": f"Bearer {where.vmm_token}"}
            form = {"design": "nobodys", "secure_guest": True, "radix": True}
            refused, document = await asyncio.gather(
                client.post(f"{VMM_PATH}vms", json=form, headers=vmm),
                client.get("/openapi.json"),
            )
    assert refused.status_code == 422
    assert f"no such design; there are {', '.join(Design)}, {NAME}" in refused.json()["detail"]
    create = document.json()["components"]["schemas"]["CreateVm"]
    assert create["properties"]["design"]["enum"] == [*Design, NAME]


@pytest.mark.parametrize("command", ["designs", "explore", "simulate"])
def test_a_command_says_in_one_line_that_a_named_design_is_not_there(
    command: str, path: str, tmp_path: Path
) -> None:
    ran = pef(command, "--design", "tracked", path=path, runtime=tmp_path, named="nobodys")
    said = "pef: PEF_DESIGNS names nobodys: no entry point of pef.designs gives a "
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert ran.stderr.startswith(said)
