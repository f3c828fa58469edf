"""The simulation: a seed does the same each time, finds a planted fault, and what it found stays fixed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pef_explorer.engines import Dask, Engine, InProcess, Processes
from pef_explorer.simulation import files
from pef_explorer.simulation.campaign import Report, campaign, shrink_seed, simulate_seed
from pef_explorer.simulation.course import course_of
from pef_explorer.simulation.events import (
    Kind,
    Partition,
    Restart,
    Seed,
    Start,
    Trouble,
    as_json,
    drawn,
    from_json,
)
from pef_hypervisor.gfn.columns import DevicePool
from pef_hypervisor.memory import slots
from pef_kit.core.effects import Operation
from pef_lab.cli import app
from pef_protocol.designs import Design
from pef_ultravisor.memory.sealing import Sealer

FOUND = Path(__file__).parent / "found"
STEPS = 160


def tracked(number: int, steps: int = STEPS) -> Seed:
    return Seed(number, Design.TRACKED, steps)


def test_a_seed_is_drawn_the_same_each_time_and_has_all_kinds_of_events() -> None:
    events = drawn(tracked(3, 600))
    assert events == drawn(tracked(3, 600))
    assert events != drawn(tracked(5, 600))
    assert {type(each) for each in events} == {Start, Trouble, Restart, Partition}
    assert {each.kind for each in events if isinstance(each, Trouble)} == set(Kind)


def test_even_seeds_have_no_faults() -> None:
    assert {type(each) for each in drawn(tracked(4, 600))} == {Start}


def test_events_survive_json() -> None:
    events = drawn(tracked(3, 600))
    assert [from_json(json.loads(json.dumps(as_json(each)))) for each in events] == events


@pytest.mark.slow
@pytest.mark.parametrize("design", [Design.TRACKED, Design.TRACKED_PAGEIN])
def test_seeds_hold(design: Design) -> None:
    report = campaign(InProcess(), design, range(1, 7), STEPS)
    assert report.failed == ()
    assert report.counted("actions") == 6 * STEPS
    assert report.counted("faults") > 0


def engines() -> Iterator[Engine]:
    from distributed import Client, LocalCluster  # noqa: PLC0415 - a second to import

    make: Any = LocalCluster
    connect: Any = Client
    yield InProcess()
    yield Processes(2)
    with (
        make(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as local,
        connect(local, set_as_default=False) as client,
    ):
        yield Dask("the test's", client)


@pytest.mark.slow
def test_the_report_is_the_same_whatever_ran_it() -> None:
    reports: list[Report] = []
    for engine in engines():
        with engine:
            reports.append(campaign(engine, Design.BROKEN, range(4), 40))
    assert len(reports[0].failed) == 4
    assert reports[0].shrunk
    assert reports == reports[:1] * 3


def test_a_file_that_is_none_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "failure.json"
    for text in ("{", "[]", '{"format": "pef-simulation/2"}', '{"format": "pef-simulation/3"}'):
        path.write_text(text)
        assert app.run(["simulate", "--file", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    path.write_text('{"format": "pef-simulation/1"}')
    assert app.run(["simulate", "--file", str(path)]) == 2
    assert capsys.readouterr().err.endswith("where pef-simulation/2 is read here\n")
    assert app.run(["simulate", "--file", str(tmp_path / "none.json")]) == 2


@pytest.mark.parametrize(
    "wrong",
    [[], ["--seeds", "0"], ["--seeds", "1", "--design", "best"], ["--seeds", "1", "--processes", "0"]],
    ids=" ".join,
)
def test_a_wrong_command_line_is_status_2(wrong: list[str]) -> None:
    assert app.run(["simulate", *wrong]) == 2


def test_the_command_tells_of_a_failure_and_writes_report_and_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    asked = ["simulate", "--seeds", "2", "--steps", "24", "--design", "broken", "--keep", str(tmp_path)]
    assert app.run([*asked, "--json", str(report)]) == 1
    reported = capsys.readouterr().out
    written = json.loads(report.read_text())
    assert (written["seeds"], written["design"], len(written["failures"])) == (2, "broken", 2)
    kept = sorted(tmp_path.glob("simulation-broken-*.json"))
    assert kept
    assert f"commit {written['commit']}" in reported


def leaves_ciphertext(store: object, vm: object, gfn_sets: object) -> Operation[None]:
    yield from ()


PLANTED: dict[str, tuple[object, str, Callable[..., Any], str]] = {
    "reset does not scrub": (slots, "scrub_pages", leaves_ciphertext, "a_page_in_gives_back_the_page_out"),
    "each seal has the first IV": (Sealer, "take_ivs", lambda sealer, pages: 1, "no_ciphertext_comes_twice"),
    "device pages leak": (DevicePool, "release", lambda pool, pages: None, "pools_add_up"),
}


@pytest.mark.slow
@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found_and_shrunk_to_a_file_that_fails_again(
    planted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where, name, fault, invariant = PLANTED[planted]
    with monkeypatch.context() as patched:
        patched.setattr(where, name, fault)
        reports = [simulate_seed(tracked(number, 600)) for number in (2, 4, 6)]
        failed = [each for each in reports if each.failure and each.failure.invariant == invariant]
        assert failed
        found = shrink_seed((tracked(failed[0].seed, 600), failed[0].failure))  # type: ignore[arg-type]
        assert found.failure.invariant == invariant
        assert len(found.kept) <= 12
        path = files.save(found, tmp_path, "abc1234")
        assert files.read(path) == found
        assert app.run(["simulate", "--file", str(path)]) == 1
        assert "the same invariant as the file's" in " ".join(capsys.readouterr().out.split())
    assert app.run(["simulate", "--file", str(path)]) == 0
    assert "all invariants hold" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_found_stays_fixed(path: Path) -> None:
    found = files.read(path)
    assert course_of(found.seed, found.kept).failure is None
