"""From nothing to nothing: up, the demonstration, a graceful stop, and down."""

import json
import urllib.request
from typing import Final

import pytest

from compose.containers import SIDES, Project

RUNS: Final = {
    "demo": ("All came out as it should", set[str]()),
    "rows": ("every MUST row that was played passes", {"rows.json", "rows.xml"}),
    "hostile": ("held", {"hostile.json"}),
}
"""What runs against a pair of its own, what it says at its good end, and the reports that it writes."""


@pytest.mark.parametrize("name", RUNS)
def test_a_run_against_the_containers_ends_well_and_leaves_nothing(project: Project, name: str) -> None:
    """Given the containers of this repository.

    When a run against them is made,
    then it ends well, writes its reports, and leaves nothing.
    """
    words, reports = RUNS[name]
    reported = project.make(f"compose-{name}")
    assert reported.returncode == 0, reported.stdout + reported.stderr
    assert words in reported.stdout
    assert "not judged" not in reported.stdout
    assert {file.name for file in project.reports.glob("*")} == reports
    assert project.left() == Project(f"{project.name}-{name}", project.secrets).left() == []


def test_the_exit_code_of_what_ran_is_passed_on(pair: Project) -> None:
    """Given a pair of containers, when a command in them is wrong, then its exit code is passed on."""
    wrong = pair.compose("run", "--rm", "--no-deps", "-T", "demo", "designs", "--size", "nothing")
    assert wrong.returncode == 2
    assert "pef: --size" in wrong.stdout + wrong.stderr


def test_up_says_where_the_pair_is_a_stop_is_graceful_and_down_leaves_nothing(project: Project) -> None:
    """Given nothing that runs.

    When the pair is brought up, stopped and taken down,
    then it says where it is, stops gracefully, and leaves nothing.
    """
    reported = project.up()
    for side in SIDES:
        assert project.url(side) in reported
    assert not [token for token in project.tokens.values() if token in reported]
    with urllib.request.urlopen(project.url("ultravisor") + "/v1/machine-key") as answer:  # noqa: S310
        assert "public_key" in json.load(answer)
    assert project.compose("stop").returncode == 0
    assert {project.inspected(side)["State"]["ExitCode"] for side in SIDES} == {0}
    assert len(project.left()) > len(SIDES)
    assert project.make("down").returncode == 0
    assert project.left() == []
