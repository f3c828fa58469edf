"""The five designs, each on a pair of processes: their verdicts, their report, their trace."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pef_lab.designs.report import VERDICTS
from pef_lab.designs.run import MARGIN, Ordered, run_designs
from pef_lab.endpoints import Endpoints
from pef_lab.failures import OperatorFault
from pef_lab.pair import PairPlan, started
from pef_lab.trace import Recording
from pef_protocol.designs import SHOWN, Design
from scenarios.pef_command import pef

pytestmark = [pytest.mark.verify, pytest.mark.sockets, pytest.mark.slow]

SIZE = 64 << 20
HOST_POPULATED = 2 << 20
GFNS = SIZE >> 16


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of all designs; its report and its trace lie here."""
    place = tmp_path_factory.mktemp("designs")
    ran = pef(
        *("designs", "--size", "64MiB", "--touched", "2MiB"),
        *("--json", place / "designs.json", "--trace", place / "trace.jsonl"),
        runtime=place,
    )
    (place / "shown").write_text(ran.stdout)
    assert ran.returncode == 0, ran.stderr
    return place


@pytest.fixture(scope="module")
def reports(directory: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((directory / "designs.json").read_text())
    return {report["name"]: report for report in content["designs"]}


def faults(report: dict[str, Any]) -> list[dict[str, str]]:
    return [each for each in report["observations"] if each["verdict"] != "ok"]


def observed(report: dict[str, Any], step: str) -> str:
    return " ".join(each["observed"] for each in report["observations"] if each["step"] == step)


def test_every_design_reports_every_field(reports: dict[str, dict[str, Any]]) -> None:
    """Given a run of all designs.

    When its report is read,
    then each design has each field, and each step has an observation.
    """
    assert list(reports) == list(SHOWN)
    for report in reports.values():
        assert list(report) == [
            *("name", "seconds", "messages", "gfns_carried", "bytes_moved"),
            *("bytes_per_gfn", "verdicts", "observations"),
        ]
        assert list(report["messages"]) == ["ultracalls", "hypercalls"]
        assert list(report["bytes_per_gfn"]) == ["hypervisor", "ultravisor"]
        assert list(report["verdicts"]) == list(VERDICTS)
        assert report["seconds"] > 0
        assert {each["step"] for each in report["observations"]} == set(VERDICTS)
        assert all(all(each.values()) for each in report["observations"])


@pytest.mark.parametrize("design", ["tracked", "tracked-pagein", "pushed-fixed"])
def test_sound_designs_are_sound(reports: dict[str, dict[str, Any]], design: str) -> None:
    """Given a design that is sound, when it is run on a pair of processes, then all its verdicts are ok."""
    assert faults(reports[design]) == []
    assert set(reports[design]["verdicts"].values()) == {"ok"}


def test_eager_is_sound_but_for_hot_add(reports: dict[str, dict[str, Any]]) -> None:
    """Given the design `eager`.

    When it is run on a pair of processes,
    then only hot-add goes wrong, and the report says what both sides hold.
    """
    verdicts = reports["eager"]["verdicts"]
    assert verdicts == {**dict.fromkeys(VERDICTS, "ok"), "hot_add": "corrupt"}
    assert "Hypervisor NORMAL, Ultravisor SECURE" in observed(reports["eager"], "hot_add")


def test_broken_shows_old_bytes_to_the_host_and_after_reboot(reports: dict[str, dict[str, Any]]) -> None:
    """Given the design `broken`.

    When it is run on a pair of processes,
    then the host, and the guest after a reboot, read bytes from before UV_ESM.
    """
    broken = reports["broken"]
    for step in ("host_reads", "reboot", "hot_add", "second_esm"):
        assert broken["verdicts"][step] == "corrupt", step
    old = "the guest's text from before UV_ESM"
    assert old in observed(broken, "host_reads")
    assert old in observed(broken, "reboot")


def test_only_eager_carries_every_gfn(reports: dict[str, dict[str, Any]]) -> None:
    """Given a run of all designs.

    When the GFNs that were carried are counted,
    then `eager` carries each GFN and the tracking designs a few.
    """
    carried = {name: report["gfns_carried"] for name, report in reports.items()}
    assert carried["eager"] >= GFNS
    assert carried["broken"] == carried["tracked"] < carried["tracked-pagein"] < GFNS // 4


def test_what_a_design_does_not_ask_for_is_not_moved(reports: dict[str, dict[str, Any]]) -> None:
    """Given a run of all designs.

    When the bytes that were moved are counted,
    then `tracked` moves less than those that ask for each touched page.
    """
    moved = {name: report["bytes_moved"] for name, report in reports.items()}
    for carrying in ("eager", "tracked-pagein", "pushed", "pushed-fixed"):
        assert moved[carrying] - moved["tracked"] >= HOST_POPULATED


def test_no_design_ends_in_an_error(reports: dict[str, dict[str, Any]]) -> None:
    """Given a run of all designs, when its observations are read, then none is an error."""
    assert [
        each for report in reports.values() for each in report["observations"] if each["verdict"] == "error"
    ] == []


def test_the_table_shows_each_design_and_what_was_seen(directory: Path) -> None:
    """Given a run of all designs, when its table is read, then it shows each design and what was seen."""
    shown = (directory / "shown").read_text()
    for word in (*SHOWN, "UV_ESM", "GFNs carried", "✔ ok", "✘ corrupt", "hot add"):
        assert word in shown


def test_the_trace_is_a_tree_of_nested_calls(directory: Path) -> None:
    """Given the trace of a run of all designs.

    When `pef trace` shows it,
    then calls are nested as they were made, and each has its answer.
    """
    two_columns = pef("trace", directory / "trace.jsonl", runtime=directory)
    assert two_columns.returncode == 0, two_columns.stderr
    turns = ("▸", "◂")
    lines = [line for line in two_columns.stdout.splitlines() if any(turn in line for turn in turns)]
    entered = next(number for number, line in enumerate(lines) if "▸ UV_ESM" in line)
    assert [line.split()[:2] for line in lines[entered + 1 : entered + 4]] == [
        ["▸", "H_SVM_INIT_START"],
        ["▸", "UV_REGISTER_MEM_SLOT"],
        ["◂", "H_SVM_INIT_START"],
    ]
    diagram = pef("trace", directory / "trace.jsonl", "--mermaid", runtime=directory)
    assert diagram.stdout.startswith("sequenceDiagram\n")
    arrows = [line for line in diagram.stdout.splitlines() if "->>" in line]
    assert sum("->>+" in line for line in arrows) == sum("-->>-" in line for line in arrows) > len(SHOWN) * 20


def test_over_http_alone_the_verdicts_are_the_same(tmp_path: Path) -> None:
    """Given normal memory over HTTP alone.

    When two designs are run,
    then their verdicts are those of a shared mapping.
    """
    words = ("designs", "--size", "64MiB", "--touched", "2MiB", "--design", "tracked", "--design", "broken")
    ran = pef(*words, "--normal-memory", "http", "--json", tmp_path / "designs.json", runtime=tmp_path)
    assert ran.returncode == 0, ran.stderr
    tracked, broken = json.loads((tmp_path / "designs.json").read_text())["designs"]
    assert faults(tracked) == []
    assert broken["verdicts"]["reboot"] == "corrupt"


async def test_a_side_that_dies_is_charged_to_no_design() -> None:
    """Given a Hypervisor that dies under a design.

    When it is run,
    then there is no verdict, and what is raised says which side ended, and how.
    """

    @asynccontextmanager
    async def source() -> AsyncIterator[Endpoints]:
        async with started(PairPlan(2 * SIZE + MARGIN)) as pair:
            pair.hypervisor.stop()
            yield pair.endpoints

    ordered = Ordered((Design.BROKEN, Design.TRACKED), SIZE, HOST_POPULATED)
    reports = run_designs(ordered, source, Recording(), lambda _, __: None)
    with pytest.raises(OperatorFault, match="the Hypervisor was ended by SIGTERM"):
        await anext(reports)
